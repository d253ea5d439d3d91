# SPDX-License-Identifier: Apache-2.0
"""Runs the C tests, built with ASan and UBSan, one pytest test a program.

How they are built and run is the Makefile's business; what they check is in test_<unit>.c.  The
other flavours (TSan, the optimized one) are `make tsan` and `make -C tests/native run-plain`.
"""

import re
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
UNITS = sorted(path.stem.removeprefix("test_") for path in HERE.glob("test_*.c"))
BUILD_LIMIT = 240  # seconds, for all programs
RUN_LIMIT = 120  # seconds, for one


def make(*arguments: str, limit: int) -> None:
    """Runs make in this directory; what it printed is the message if it fails."""
    try:
        done = subprocess.run(
            ["make", "--no-print-directory", "-C", HERE, *arguments],
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=limit,
        )
    except FileNotFoundError:
        pytest.fail("make is missing: apt install build-essential", pytrace=False)
    except subprocess.TimeoutExpired as late:
        pytest.fail(f"{late}\n{late.stdout!r}", pytrace=False)
    if done.returncode:
        pytest.fail(done.stdout, pytrace=False)


@pytest.fixture(scope="module")
def programs() -> None:
    make("-j2", "asan", limit=BUILD_LIMIT)


SET_UP = {
    *("plane", "worker", "tun_open", "udp_open", "rights"),
    *("callfilter", "callprogram", "trials"),
}
"""Files of cext/ that no turn of a worker enters."""
CALLS = re.compile(
    r"p?(read|write)v?2?(64)?|p?poll|select|splice|tee|ioctl|fcntl|open(at)?|close|fsync"
    r"|(recv|send)(m?msg|from|to|file)?|epoll_\w+|io_uring\w*|futex|syscall|nanosleep|mmap|munmap"
    r"|madvise|[gs]etsockopt|sched_\w+|clock_\w+|getrandom"
)
UNFAILING = {
    "clock_gettime": "of clocks that there are",
    "sched_yield": "always succeeds on Linux",
    "open": "set-up only (tap.c)",
    "ioctl": "set-up only (tap.c)",
    "close": "at the end only (tap.c, watch.c)",
    "epoll_create1": "set-up only (watch.c)",
    "getrandom": "set-up only, and there is another number (uncut.c)",
    "mmap": "set-up only (peers.c)",
    "munmap": "at the end only (peers.c)",
    "ppoll": "a pause, shorter if it fails (loop.c)",
}


@pytest.fixture
def objects() -> None:
    """All of cext/, for one program: quick beside tests that others run meanwhile."""
    make("asan", "ONLY=faults", limit=BUILD_LIMIT)


@pytest.mark.usefixtures("objects")
def test_every_call_of_the_hot_loop_can_be_made_to_fail() -> None:
    """A call that is new in a file of the hot loop has to be put behind the kernel that fails."""
    wrapped = re.search(r"^WRAPPED := (.*)$", (HERE / "Makefile").read_text(), re.MULTILINE)
    assert wrapped
    objects = [
        path
        for path in (HERE.parents[1] / "build" / "native").glob("*-asan/cext/*.o")
        if path.stem not in SET_UP
    ]
    assert len(objects) > 10
    shown = subprocess.run(
        ["nm", "-u", "-j", *objects],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout
    calls = {line for line in shown.split() if CALLS.fullmatch(line)}
    assert set(wrapped[1].split()) <= calls, "all are in use"
    assert calls - set(wrapped[1].split()) <= UNFAILING.keys()


@pytest.mark.usefixtures("programs")
@pytest.mark.parametrize("unit", UNITS)
def test_unit(unit: str) -> None:
    # make's own limit ends the program first, so that nothing is left running.
    make("run-asan", f"ONLY={unit}", f"LIMIT={RUN_LIMIT}", limit=RUN_LIMIT + BUILD_LIMIT)
