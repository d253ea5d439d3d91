# SPDX-License-Identifier: Apache-2.0
"""The run directory: one agent at a time, and what a node has to remember across restarts.

It lives in /run, so that a reboot forgets it, as it forgets the device.
"""

import fcntl
import os
from pathlib import Path
from typing import Self

from fwd.core.text import format_mac, mac_fault, parse_mac
from fwd.model import ConfigError
from fwd.node.subnetfile import write_whole


class RunDir:
    """An open run directory; the lock is held until close()."""

    LOCK = "fwd.lock"

    def __init__(self, path: Path, *, lock: int) -> None:
        self.path = path
        self.lock = lock
        """Its descriptor."""
        self.is_ours = False
        self.is_given = False
        """Another agent has it from now on."""

    @classmethod
    def open(cls, path: Path) -> Self:
        """Makes the directory and takes its lock.  ConfigError if an agent has it."""
        self = cls.enter(path)
        if not self.is_ours:
            self.close()
            raise ConfigError(f"another agent runs with {path}: stop it first")
        return self

    @classmethod
    def enter(cls, path: Path) -> Self:
        """Makes the directory, and takes its lock if nobody has it.  Raises ConfigError."""
        try:
            path.mkdir(mode=0o755, parents=True, exist_ok=True)
            lock = os.open(path / cls.LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigError(f"cannot use run directory {path}: {error.strerror}") from error
        self = cls(path, lock=lock)
        self.try_lock()
        return self

    def try_lock(self) -> bool:
        """Whether it is ours, now or since before."""
        if not self.is_ours:
            try:
                fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            self.is_ours = True
        return True

    def check(self, lock: int) -> None:
        """ValueError if an open lock is another directory's."""
        if not os.path.sameopenfile(lock, self.lock):
            raise ValueError(f"the lock of another run directory than {self.path}")

    def adopt(self, lock: int) -> None:
        """Another agent's open lock instead of our own.  ValueError if it is another file's.

        A lock belongs to what was opened, whoever has it: so it is never free in between.
        """
        try:
            self.check(lock)
        except BaseException:
            os.close(lock)
            raise
        os.close(self.lock)
        self.lock = lock
        self.is_ours = True

    def read_mac(self, device: str) -> bytes | None:
        """The MAC that the VTEP of this device had last, if it is remembered."""
        return remembered_mac(self.path, device)

    def write_mac(self, device: str, mac: bytes) -> None:
        """Remembers it.  Raises OSError."""
        write_whole(self.path / f"{device}.mac", f"{format_mac(mac)}\n".encode())

    def close(self) -> None:
        """Gives the lock back."""
        os.close(self.lock)


def remembered_mac(directory: Path, device: str) -> bytes | None:
    """The same, without the directory's lock."""
    try:
        mac = parse_mac((directory / f"{device}.mac").read_text("ascii").strip())
    except (OSError, ValueError):
        return None
    return mac if mac_fault(mac) is None else None
