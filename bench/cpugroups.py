# SPDX-License-Identifier: Apache-2.0
"""Control groups that stand side by side, as Pods' do, with what kubelet gives for a CPU request.

That (cpu.shares, or cpu.weight as it converts it) is relative: a group gets as much of the time as
it weighs beside those that want to run, and no weight stands for a number of processors.  On a node
a request comes to that number, because the scheduler places no more requests than there are
processors.  Where somebody requests more than there are, each gets less: see `sure`.
"""

import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from fwd.lab import signals

_V1, _V2 = Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup")
_NAME: Final = "fwd-busy"
_TRIES: Final = 100
_PAUSE: Final = 0.05  # seconds: what is killed is gone a little later


def sure(millis: int, *, requests: Iterable[int], cpus: int) -> float:
    """Processors that who requests this gets, whatever the others do; all `requests`, its own too.

    That is what is left when all want to run all the time.
    """
    return cpus * millis / sum(requests)


class Group:
    """A control group."""

    def __init__(self, path: Path, millis: int) -> None:
        self._path = path
        path.mkdir(exist_ok=True)
        self.request(millis)

    def request(self, millis: int) -> None:
        """As kubelet: cpu.shares; cpu.weight as runc made it of these until 1.3.2 (KEP-2254).

        Later ones make it by a curve, which gives small requests more.
        """
        shares = max(2, millis * 1024 // 1000)
        if (self._path / "cpu.shares").exists():
            (self._path / "cpu.shares").write_text(str(shares))
        else:
            (self._path / "cpu.weight").write_text(str(1 + (shares - 2) * 9999 // 262142))

    def take(self, pid: int) -> None:
        """That process and what it starts from now on."""
        with suppress(ProcessLookupError):  # it was a short one
            (self._path / "cgroup.procs").write_text(str(pid))


@contextmanager
def groups(*names: str, millis: int) -> Iterator[list[Group]]:
    """Groups side by side; whoever is in one at the end leaves it.

    What an earlier run left goes first, with all that still runs in it.  So nobody else may have
    them at the same time: the caller holds a lock.
    """
    root = _V1 if (_V1 / "cpu.shares").exists() else _V2
    if root == _V2:
        (root / "cgroup.subtree_control").write_text("+cpu")
    top = root / _NAME
    home = (
        root
        if root == _V1
        else root / Path("/proc/self/cgroup").read_text().split("::/")[-1].strip()
    )

    def go_home(pid: int) -> None:
        (home / "cgroup.procs").write_text(str(pid))

    remove(top, _kill)
    try:
        top.mkdir()
        if root == _V2:
            (top / "cgroup.subtree_control").write_text("+cpu")
        yield [Group(top / name, millis) for name in names]
    finally:
        with signals.shielded():
            remove(top, go_home)


def _kill(pid: int) -> None:
    if pid:  # 0: of another PID namespace, and to kill() all of the caller's own group
        os.kill(pid, signal.SIGKILL)


def remove(top: Path, leave: Callable[[int], None]) -> None:
    """A group and those in it, if they are there, after `leave` for each process.

    Raises:
        OSError: there is somebody in it still.
    """
    for path in (*(one for one in top.glob("*") if one.is_dir()), top):
        for turn in range(_TRIES):
            try:
                for pid in (path / "cgroup.procs").read_text().split():
                    with suppress(ProcessLookupError):
                        leave(int(pid))
                path.rmdir()
            except FileNotFoundError:  # there is none, or no more
                break
            except OSError:
                if turn == _TRIES - 1:
                    raise
                time.sleep(_PAUSE)
            else:
                break
