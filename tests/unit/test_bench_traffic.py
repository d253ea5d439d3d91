# SPDX-License-Identifier: Apache-2.0
"""The load generator's threads and sockets, in this namespace: what ends, and when."""

import os
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from fwd.bench import traffic
from fwd.lab.probes import Route

ROOT = Path(__file__).resolve().parents[2]
HERE: Final = Route("", "", "127.0.0.1", 4, 1500)
LIMIT: Final = 20.0  # seconds

# As a signal's handler that raises while Thread.start() waits for the thread to say that it runs.
INTERRUPTED = textwrap.dedent("""
    import threading, time
    from fwd.bench import traffic
    from fwd.lab.probes import Route

    class Interrupted(Exception):
        pass

    def start(thread):
        begin(thread)
        if "inside" not in doing:
            time.sleep({late})
            raise Interrupted

    doing = ["inside"]
    traffic.inside = lambda _, what: what()
    begin, threading.Thread.start = threading.Thread.start, start
    with traffic.bound(Route("", "", "127.0.0.1", 4, 1500), 2) as keeps_low_numbers:
        doing.clear()
        try:
            with traffic.echo(Route("", "", "127.0.0.1", 4, 1500)):
                pass
        except Interrupted:
            print("interrupted", flush=True)
""")


@pytest.mark.root
@pytest.mark.parametrize("late", [0, 0.2])
def test_a_loop_whose_start_was_interrupted_ends(late: float) -> None:
    for _ in range(5):
        done = subprocess.run(
            [sys.executable, "-c", INTERRUPTED.format(late=late)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )
        assert (done.returncode, done.stdout) == (0, "interrupted\n"), done.stderr


@pytest.fixture
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(_: str, what: Callable[[], object]) -> object:
        return what()

    monkeypatch.setattr(traffic, "inside", run)


@pytest.mark.root  # for buffers beyond the limit
@pytest.mark.usefixtures("_here")
def test_a_connection_that_nobody_takes_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traffic, "CONNECT_LIMIT", 0.5)
    with ExitStack() as stack:
        listener = stack.enter_context(traffic.bound(HERE, socket.SOCK_STREAM))
        listener.listen(0)  # room for one; the SYN of a second one is dropped
        took = stack.enter_context(traffic.connected(HERE, listener))
        assert os.get_blocking(took.fileno())  # which C needs
        began = time.monotonic()
        with pytest.raises(TimeoutError, match="no answer"):
            traffic.connected(HERE, listener)
        assert time.monotonic() - began < LIMIT


@pytest.mark.root  # for buffers beyond the limit
@pytest.mark.usefixtures("_here")
def test_datagrams_can_be_looked_at_and_ended_on_their_way() -> None:
    began = time.monotonic()
    with traffic.flowing(HERE, size=64, seconds=10 * LIMIT, rate=1000) as flow:
        # More than one receive brings, for there is no time between those of one.
        while (early := flow.so_far()).received <= 256:
            time.sleep(0.01)
    late = flow.so_far()
    assert time.monotonic() - began < LIMIT
    assert early.received <= late.received == late.sent
    assert late.sending > 0 < late.receiving


@pytest.mark.root  # for buffers beyond the limit
@pytest.mark.usefixtures("_here")
def test_an_exception_does_not_wait_for_the_senders() -> None:
    began = time.monotonic()
    with (
        pytest.raises(KeyboardInterrupt),
        traffic.flowing(HERE, size=64, seconds=10 * LIMIT, rate=1000),
    ):
        raise KeyboardInterrupt
    assert time.monotonic() - began < LIMIT
