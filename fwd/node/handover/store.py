# SPDX-License-Identifier: Apache-2.0
"""The agent's side of its supervisor (fwd/supervisor/words.py: what is said): it keeps descriptors.

A supervisor that does not answer is given up: the agent forwards without one.  The last word to it
is to keep nothing, for it could not be told of any change any more.
"""

import contextlib
import os
import socket
from collections.abc import Iterable, Mapping

from fwd.ops import log
from fwd.supervisor.descriptors import receive_descriptors
from fwd.supervisor.words import BEGUN, FORGET, GO, LOCK, MOST_BYTES, MOST_DESCRIPTORS, STORE

ANSWER_SECONDS = 2.0


class Entry:
    """What was kept under a name."""

    def __init__(self, data: bytes, descriptors: list[int]) -> None:
        self.data = data
        self.descriptors = descriptors

    def close(self) -> None:
        """Closes our copies."""
        while self.descriptors:
            os.close(self.descriptors.pop())


class Store:
    """A supervisor's memory; without one, nothing is kept and nothing found."""

    def __init__(self, sock: socket.socket | None = None) -> None:
        self._sock = sock
        self.was_there = sock is not None
        """Whether there is a supervisor, be it given up by now: it still waits for our end."""
        if sock is not None:
            sock.settimeout(ANSWER_SECONDS)

    @classmethod
    def of_environment(cls, environ: Mapping[str, str]) -> "Store":
        """The one that our supervisor has told us of."""
        number = environ.get(STORE, "")
        if not number.isdecimal():
            return cls()
        try:
            sock = socket.socket(fileno=int(number))
            os.set_inheritable(sock.fileno(), False)
        except OSError:
            return cls()
        return cls(sock)

    @property
    def is_there(self) -> bool:
        """Whether somebody keeps what we give."""
        return self._sock is not None

    def put(self, name: str, data: bytes, descriptors: Iterable[int] = ()) -> None:
        """Keeps this under that name, instead of what was there."""
        self._ask(f"put {name}\n".encode() + data, list(descriptors))

    def drop(self, name: str) -> None:
        """Keeps nothing there.  When this returns, the supervisor's copies are closed."""
        self._ask(f"drop {name}".encode())

    def begun(self) -> None:
        """This agent is one that another is to follow."""
        self._ask(BEGUN)

    def put_lock(self, path: str) -> None:
        """Where a supervisor that stands by sees whether an agent runs."""
        self.put(LOCK, path.encode())

    def wait_for_go(self) -> bool:
        """Whether the supervisor said so; False: it is gone, or something else came.

        Waits as long as the supervisor lives.
        """
        if self._sock is None:
            return False
        try:
            self._sock.settimeout(None)
            said = self._sock.recv(len(GO))
            self._sock.settimeout(ANSWER_SECONDS)
        except OSError:
            return False
        return said == GO

    def keep_over_exec(self) -> None:
        """For this process as another program."""
        if self._sock is not None:
            os.set_inheritable(self._sock.fileno(), True)

    def load(self) -> dict[str, Entry]:
        """All that is kept."""
        found: dict[str, Entry] = {}
        if self._sock is None:
            return found
        try:
            self._sock.send(b"load")
            while True:
                data, fds, _ = receive_descriptors(self._sock, MOST_BYTES, MOST_DESCRIPTORS)
                head, _, rest = data.partition(b"\n")
                if not head.startswith(b"entry "):
                    break
                found[head[6:].decode("utf-8", "replace")] = Entry(rest, fds)
        except OSError as error:
            self._give_up(error)
        return found

    def _ask(self, message: bytes, descriptors: Iterable[int] = ()) -> None:
        if self._sock is None:
            return
        try:
            socket.send_fds(self._sock, [message], list(descriptors), socket.MSG_NOSIGNAL)
            if not self._sock.recv(16):
                raise ConnectionResetError("it is gone")
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        log.warning("supervisor-lost", error=error.strerror or error, text="a crash loses packets")
        if self._sock is not None:
            # Its copies would keep the queues of a device from this agent when it opens them anew.
            with contextlib.suppress(OSError):
                self._sock.setblocking(False)
                self._sock.send(FORGET, socket.MSG_NOSIGNAL)
            with contextlib.suppress(OSError):
                self._sock.close()
        self._sock = None
