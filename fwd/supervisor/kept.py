# SPDX-License-Identifier: Apache-2.0
"""What an agent has given: descriptors and bytes, by name."""

import contextlib
import os
import socket
from collections.abc import Iterable

from fwd.supervisor.descriptors import receive_descriptors
from fwd.supervisor.words import LOCK, MOST_BYTES, MOST_DESCRIPTORS, MOST_ENTRIES, TABLE


def receive(talk: socket.socket) -> tuple[bytes, list[int]]:
    """A message and its descriptors.

    EOFError: there will be no more.  OSError or ValueError: there will be no more of use.
    """
    data, fds, flags = receive_descriptors(talk, MOST_BYTES, MOST_DESCRIPTORS)
    if not data and not fds:
        raise EOFError
    if not data or flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
        close_all(fds)  # of a message cut short, too, some have come
        raise ValueError("a message that cannot be")
    return data, fds


class Kept:
    """Owns all descriptors in it."""

    def __init__(self) -> None:
        self._entries: dict[str, tuple[bytes, list[int]]] = {}

    @property
    def devices(self) -> tuple[str, ...]:
        """Those whose descriptors are here."""
        return tuple(name for name in self._entries if name != LOCK and not name.endswith(TABLE))

    @property
    def has_tunnels(self) -> bool:
        """Or a part of one."""
        return any(name != LOCK for name in self._entries)

    @property
    def lock(self) -> bytes:
        """The path of the run directory's lock; empty: unknown."""
        return self._entries.get(LOCK, (b"", []))[0]

    def put(self, name: str, data: bytes, fds: list[int]) -> None:
        """Instead of what had the name; nothing if there are too many."""
        self.drop(name)
        if len(self._entries) < MOST_ENTRIES:
            self._entries[name] = data, fds
        else:
            close_all(fds)

    def drop(self, name: str) -> None:
        """Closes what has the name, if anything has."""
        close_all(self._entries.pop(name, (b"", []))[1])

    def drop_all(self) -> None:
        """Closes everything."""
        for name in list(self._entries):
            self.drop(name)

    def drop_tunnels(self) -> None:
        """Closes everything, but where the lock is stays known: it is needed to stand by."""
        for name in self._entries.keys() - {LOCK}:
            self.drop(name)

    def send(self, talk: socket.socket) -> None:
        """The answer to `load`.  Raises OSError."""
        for name, (data, fds) in self._entries.items():
            socket.send_fds(talk, [f"entry {name}\n".encode() + data], fds)
        talk.send(b"end")


def close_all(fds: Iterable[int]) -> None:
    """Closes them, whatever it says."""
    for fd in fds:
        with contextlib.suppress(OSError):
            os.close(fd)
