# SPDX-License-Identifier: Apache-2.0
"""An agent's second signal."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.unit.supervisor_support import LIMIT, ROOT

PROGRAM = """
import asyncio, sys, uvloop
from fwd.ops.signals import until_signal

def say(word):
    print(word, flush=True)
    sys.stdin.readline()

async def work():
    try:
        say("works")
        await asyncio.sleep(60)
    finally:
        await asyncio.sleep(0)
        await asyncio.to_thread(say, "ends")
        await asyncio.sleep(0.01)
        print("was not disturbed")

with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    runner.run(until_signal(work(), supervised="supervised" in sys.argv))
say("has ended")
"""


@contextmanager
def process(*words: str) -> Iterator["subprocess.Popen[bytes]"]:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
    ) as made:
        try:
            yield made
        finally:
            made.kill()


def hear(made: "subprocess.Popen[bytes]", word: bytes) -> None:
    assert made.stdout is not None
    assert made.stdout.readline() == word + b"\n"


def go_on(made: "subprocess.Popen[bytes]") -> None:
    assert made.stdin is not None
    made.stdin.write(b"\n")
    made.stdin.flush()


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_of_who_is_supervised_the_supervisor_says_when_it_is_too_long(
    second: signal.Signals,
) -> None:
    """systemd tells both, and the supervisor passes on what it was told."""
    with process("supervised") as made:
        hear(made, b"works")
        go_on(made)
        made.send_signal(signal.SIGTERM)
        hear(made, b"ends")
        made.send_signal(second)
        go_on(made)
        hear(made, b"was not disturbed")
        hear(made, b"has ended")
        made.send_signal(second)
        go_on(made)
        assert made.wait(LIMIT) == 0


def test_alone_a_second_one_kills() -> None:
    with process() as made:
        hear(made, b"works")
        go_on(made)
        made.send_signal(signal.SIGTERM)
        hear(made, b"ends")
        made.send_signal(signal.SIGTERM)
        assert made.wait(LIMIT) == -signal.SIGTERM
