# SPDX-License-Identifier: Apache-2.0
"""Processes that outlive the command that started them: started, recognised again, ended.

A pid alone is no name: once its process is gone the kernel gives it to another.  A ``Process`` is
therefore a pid and the time at which it started, and a signal goes through a pidfd that was
opened before this pair was compared, so it reaches that process or nobody.
"""

import contextlib
import os
import select
import signal
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from msgspec import Struct

from fwd.lab.errors import LabError

# Seconds between SIGTERM and SIGKILL: an agent drains and closes in well under one.
GRACE: Final = 5.0
_KILLED: Final = 5.0  # ... and after SIGKILL: longer only if the process hangs in the kernel


class Process(Struct, frozen=True):
    """A process; ``start_time`` in clock ticks since boot (proc(5), stat field 22)."""

    pid: int
    start_time: int


def identify(pid: int) -> Process | None:
    """The process that has this pid now; None when there is none, or only its exit status."""
    found = _stat(pid)
    return None if found is None or found[0] in "ZX" else Process(pid, found[1])


def alive(process: Process) -> bool:
    """Whether it still runs."""
    return identify(process.pid) == process


def spawn(argv: list[str], *, env: Mapping[str, str], log: Path) -> Process:
    """Start a program in a session of its own, so that a Ctrl-C here does not reach it.

    Args:
        argv: the first word is a path.
        env: its whole environment.
        log: gets its stdout and stderr, appended.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(log), flags, 0o644),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    pid = os.posix_spawn(argv[0], argv, env, file_actions=actions, setsid=True)
    found = _stat(pid)
    assert found is not None  # a child: nobody else takes its exit status, if it has ended already
    return Process(pid, found[1])


def inside(namespaces: Iterable[Path]) -> list[Process]:
    """Every process in one of these network namespaces, this one excepted."""
    wanted = set()
    for path in namespaces:
        with contextlib.suppress(OSError):
            stat = path.stat()
            wanted.add((stat.st_dev, stat.st_ino))
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        before = identify(int(entry.name))
        try:
            stat = (entry / "ns/net").stat()
        except OSError:  # it ended meanwhile
            continue
        # The same before and after: the namespace that was seen is this process's.
        if before and (stat.st_dev, stat.st_ino) in wanted and alive(before):
            found.append(before)
    return found


def stop(processes: Iterable[Process], *, grace: float = GRACE) -> None:
    """End processes: SIGTERM, and SIGKILL for those that are still there after ``grace`` seconds.

    Raises:
        LabError: one is there even after SIGKILL.
    """
    with contextlib.ExitStack() as stack:
        waiting: dict[int, Process] = {}
        for process in set(processes):
            with contextlib.suppress(ProcessLookupError):
                fd = os.pidfd_open(process.pid)
                stack.callback(os.close, fd)
                if alive(process):
                    waiting[fd] = process
        for number, patience in ((signal.SIGTERM, grace), (signal.SIGKILL, _KILLED)):
            for fd in waiting:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(fd, number)
            _await_end(waiting, patience)
        if waiting:
            pid = min(process.pid for process in waiting.values())
            raise LabError(f"process {pid} does not end, not even by SIGKILL")


def reap(pid: int) -> None:
    """Take a child's exit status, if it is a child and has ended."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def how_ended(process: Process) -> str:
    """` by signal 9`, ` with exit code 70`; nothing if it is nobody's child here any more."""
    try:
        found = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return ""
    if found is None:
        return ""
    by = "with exit code" if found.si_code == os.CLD_EXITED else "by signal"
    return f" {by} {found.si_status}"


def _stat(pid: int) -> tuple[str, int] | None:
    """State and start time."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # Field 2, the program's name, may hold spaces and parentheses: count from its end.
    fields = stat[stat.rindex(")") + 2 :].split()
    return fields[0], int(fields[19])


def _await_end(waiting: dict[int, Process], patience: float) -> None:
    """Take those out of ``waiting`` that end within ``patience`` seconds."""
    poll = select.poll()
    for fd in waiting:
        poll.register(fd, select.POLLIN)  # a pidfd is readable once its process has ended
    deadline = time.monotonic() + patience
    while waiting and (left := deadline - time.monotonic()) > 0:
        for fd, _ in poll.poll(left * 1000):
            poll.unregister(fd)
            reap(waiting.pop(fd).pid)
