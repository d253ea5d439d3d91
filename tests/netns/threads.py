# SPDX-License-Identifier: Apache-2.0
"""What a scheduler may do to threads, at the test's wish: hold one still, move all about.

A signal stops a whole process; what happens to the packets of a worker that is off the processor
while another one runs can be seen for certain only when one thread stops alone: by ptrace(2).
"""

import ctypes
import itertools
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Event
from typing import Final

# linux/ptrace.h
_DETACH: Final = 17
_SEIZE: Final = 0x4206
_INTERRUPT: Final = 0x4207
_WALL: Final = 0x40000000  # linux/wait.h

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)

SEVERAL = ("--workers=2",)
"""For agents of tests, whatever the machine has: one worker gets less wrong than several."""


def workers(pid: int, number: int) -> list[int]:
    """Thread ids of an agent's workers of this number, one a tunnel."""
    found = [
        int(task.name)
        for task in Path(f"/proc/{pid}/task").iterdir()
        if (task / "comm").read_text().strip() == f"fwd-w{number}"
    ]
    assert found, f"process {pid} has no worker {number}"
    return found


@contextmanager
def held(tids: Iterable[int]) -> Iterator[None]:
    """The threads do nothing for as long as the context lasts; enter and leave in one thread."""
    with ExitStack() as stack:
        for tid in tids:
            _ptrace(_SEIZE, tid)
            stack.callback(_ptrace, _DETACH, tid)
            _ptrace(_INTERRUPT, tid)
            os.waitpid(tid, _WALL)
        yield


@contextmanager
def restless() -> Iterator[None]:
    """All threads of this process change their processor every millisecond."""
    allowed = os.sched_getaffinity(0)
    stop = Event()

    def hop() -> None:
        for cpu in itertools.cycle(allowed):
            _pin({cpu})
            if stop.wait(0.001):
                break

    with ThreadPoolExecutor(1) as pool:
        hopping = pool.submit(hop)
        try:
            yield
        finally:
            stop.set()
            hopping.result()
            _pin(allowed)


def _pin(cpus: set[int]) -> None:
    for task in Path("/proc/self/task").iterdir():
        with suppress(ProcessLookupError):
            os.sched_setaffinity(int(task.name), cpus)


def _ptrace(request: int, tid: int) -> None:
    if _libc.ptrace(request, tid, None, None) < 0:
        raise OSError(ctypes.get_errno(), f"ptrace request {request:#x} of thread {tid}")
