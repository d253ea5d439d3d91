# SPDX-License-Identifier: Apache-2.0
"""What may become of threads, at the test's wish: one is held still or spins, all move about.

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

from tests.unable import leave_out

# linux/ptrace.h
_DETACH: Final = 17
_SEIZE: Final = 0x4206
_INTERRUPT: Final = 0x4207
_POKEUSER: Final = 6
# Of struct user (sys/user.h, x86-64).
_ORIG_RAX: Final = 15 * 8
_RIP: Final = 16 * 8
_SPIN: Final = b"\xeb\xfe"  # jmp to itself
_WALL: Final = 0x40000000  # linux/wait.h

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
_libc.ptrace.restype = ctypes.c_long

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
            hold(tid)
            stack.callback(_ptrace, _DETACH, tid)
        yield


def hold(tid: int) -> None:
    """A thread does nothing any more; if its process ends, this one has to see_end() of it."""
    _ptrace(_SEIZE, tid)
    _ptrace(_INTERRUPT, tid)
    os.waitpid(tid, _WALL)


def see_end(tid: int) -> None:
    """A traced thread is there until its tracer has seen it end."""
    while os.WIFSTOPPED(os.waitpid(tid, _WALL)[1]):
        pass


def spin(tid: int) -> None:
    """A thread runs the same instruction for ever."""
    if os.uname().machine != "x86_64":
        leave_out("a thread can be made to spin on x86-64 only")
    loop = _find(tid, _SPIN)
    hold(tid)
    _ptrace(_POKEUSER, tid, _ORIG_RAX, -1)  # it is in no system call that is to be tried again
    _ptrace(_POKEUSER, tid, _RIP, loop)
    _ptrace(_DETACH, tid)


def _find(tid: int, code: bytes) -> int:
    """An address in what a thread can run."""
    with Path(f"/proc/{tid}/mem").open("rb") as memory:
        for line in Path(f"/proc/{tid}/maps").read_text().splitlines():
            span, rights, *_ = line.split()
            begin, end = (int(one, 16) for one in span.split("-"))
            if "x" not in rights or "[" in line:
                continue
            memory.seek(begin)
            if (found := memory.read(end - begin).find(code)) >= 0:
                return begin + found
    raise AssertionError(f"nothing that spins in thread {tid}")


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


def _ptrace(request: int, tid: int, address: int = 0, data: int = 0) -> None:
    if _libc.ptrace(request, tid, address, data) < 0:
        raise OSError(ctypes.get_errno(), f"ptrace request {request:#x} of thread {tid}")
