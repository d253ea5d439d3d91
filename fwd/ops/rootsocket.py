# SPDX-License-Identifier: Apache-2.0
"""A unix socket to listen at that only our own user may connect to, at a path that others had.

It is made beside the path and renamed, so that whoever connects finds the agent before or this
one, never none, and so that what can fail has not when the one before goes.  At the end it is
removed only if the path is still this one's.  Between that look and the removal another one could
come: whoever knows of another leaves the path alone.
"""

import errno
import os
import socket
import struct
from contextlib import suppress
from pathlib import Path
from typing import Self

_PEERCRED = struct.Struct("iII")
_BACKLOG = 16
_LONGEST = 107
BESIDE = ".new"
"""Behind the name, as long as it is not the one that others find."""


class RootSocket:
    """A listening socket and its path."""

    def __init__(self, path: Path, listener: socket.socket) -> None:
        self.path = path
        self.listener = listener
        """Non-blocking."""
        self._at = _beside(path)
        self._number: tuple[int, int] | None = _number(self._at)
        """None: the path is not ours to remove."""

    @classmethod
    def beside(cls, path: Path, kind: socket.SocketKind) -> Self:
        """Listens, and nobody finds it before `take_name`.  Raises OSError."""
        new = _beside(path)
        if len(os.fsencode(new)) > _LONGEST:
            text = f"a socket's path has at most {_LONGEST} bytes: give a shorter --run-dir"
            raise OSError(errno.ENAMETOOLONG, text, str(new))
        listener = socket.socket(socket.AF_UNIX, kind | socket.SOCK_CLOEXEC)
        try:
            with suppress(FileNotFoundError):
                new.unlink()
            # The mode is made by the mask, so that there is no moment in which others may connect.
            mask = os.umask(0o177)
            try:
                listener.bind(str(new))
            finally:
                os.umask(mask)
            listener.setblocking(False)
            listener.listen(_BACKLOG)
            return cls(path, listener)
        except BaseException:
            listener.close()
            raise

    def take_name(self) -> None:
        """In place of whoever listened there before.  Raises OSError."""
        self._at = self._at.rename(self.path)

    def leave_name(self) -> None:
        """The path is another agent's, or will be."""
        self._number = None

    def close(self) -> None:
        """Listens no more."""
        self.listener.close()
        with suppress(OSError):
            if self._number is not None and _number(self._at) == self._number:
                self._at.unlink()


def _beside(path: Path) -> Path:
    return path.with_name(path.name + BESIDE)


def _number(path: Path) -> tuple[int, int]:
    """By which the kernel knows a file."""
    found = path.stat()
    return found.st_dev, found.st_ino


def check_peer(sock: socket.socket) -> None:
    """Raises PermissionError unless the process at the other end is of our own user."""
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEERCRED.size)
    pid, uid, _ = _PEERCRED.unpack(raw)
    if uid != os.geteuid():
        raise PermissionError(f"process {pid} of user {uid} is not ours to talk with")
