# SPDX-License-Identifier: Apache-2.0
"""Who has a run directory's lock: an agent that waits for its first leases answers nobody yet.

/proc/locks names who took it, which may be gone: an agent gives the open file to its successor.  So
each process is asked whether one of its open files has it (fdinfo, proc_pid_fdinfo(5)).
"""

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from fwd.node.rundir import RunDir

_PROC = Path("/proc")


def holder_of(run_dir: Path) -> int | None:
    """Process id of the agent that has it; None: there is none, or none to be seen from here.

    Not to be seen are those of other pid namespaces, and to others than root those of root.
    """
    try:
        lock = (run_dir / RunDir.LOCK).stat()
    except OSError:
        return None
    pids = sorted(int(one.name) for one in _PROC.iterdir() if one.name.isdecimal())
    return next((pid for pid in pids if _has(_PROC / str(pid), lock)), None)


def is_locked(run_dir: Path) -> bool:
    """Whether anybody has it, to be seen or not."""
    try:
        lock = os.open(run_dir / RunDir.LOCK, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)  # so that two may look at once
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def _has(process: Path, lock: os.stat_result) -> bool:
    with suppress(OSError):  # it ends, or is not ours to look into
        return any(_is_it(process, fd.name, lock) for fd in (process / "fd").iterdir())
    return False


def _is_it(process: Path, fd: str, lock: os.stat_result) -> bool:
    with suppress(OSError):
        path = process / "fd" / fd
        if RunDir.LOCK in os.readlink(path):  # noqa: PTH115 - quicker, and most are no files
            said = (process / "fdinfo" / fd).read_text()
            return os.path.samestat(path.stat(), lock) and "FLOCK" in said
    return False


def is_elsewhere(pid: int) -> bool:
    """Whether a process is in another network namespace than this one, as far as can be seen."""
    with suppress(OSError):
        return not os.path.samestat(_network("self"), _network(str(pid)))
    return False


def _network(process: str) -> os.stat_result:
    return (_PROC / process / "ns" / "net").stat()


def way_to(pid: int) -> str:
    """For people: how COMMAND, for which the caller has words, is to be run where it is."""
    return f"nsenter --net=/proc/{pid}/ns/net COMMAND, or in a lab: fwd lab exec NODE -- COMMAND"
