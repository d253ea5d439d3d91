# SPDX-License-Identifier: Apache-2.0
"""Processes that outlive their starter: recognised, and ended for certain.  With real processes."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from fwd.lab import agentproc
from fwd.lab.agentproc import Process

Start = Callable[..., Process]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started = []

    def run(script: str) -> Process:
        argv = ["/bin/sh", "-c", script]
        process = agentproc.spawn(argv, env={"PATH": os.environ["PATH"]}, log=tmp_path / "log")
        started.append(process)
        return process

    yield run
    agentproc.stop(started, grace=0)


def wait_for(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_running_process_is_recognised(start: Start) -> None:
    process = start("sleep 60")
    assert agentproc.alive(process)
    assert agentproc.identify(process.pid) == process


def test_it_is_in_a_session_of_its_own(start: Start) -> None:
    process = start("sleep 60")
    assert os.getsid(process.pid) == process.pid


def test_its_output_is_appended_to_the_log(start: Start, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("before\n")
    process = start("echo out; echo err >&2")
    wait_for(lambda: not agentproc.alive(process))
    assert log.read_text() == "before\nout\nerr\n"


def test_stop_ends_it_and_leaves_no_zombie(start: Start) -> None:
    process = start("sleep 60")
    agentproc.stop([process])
    assert not Path(f"/proc/{process.pid}").exists()


def test_stop_takes_one_that_ignores_sigterm(start: Start, tmp_path: Path) -> None:
    process = start("trap '' TERM; echo ready; while :; do sleep 0.05; done")
    wait_for(lambda: "ready" in (tmp_path / "log").read_text())
    agentproc.stop([process], grace=0.2)
    assert not agentproc.alive(process)


def test_a_process_that_has_ended_is_not_alive_even_as_a_zombie(start: Start) -> None:
    process = start("exit 0")
    wait_for(lambda: not agentproc.alive(process))
    agentproc.stop([process])  # and there is nothing to stop


def test_a_recycled_pid_is_not_signalled(start: Start) -> None:
    process = start("sleep 60")
    older = msgspec.structs.replace(process, start_time=process.start_time - 1)
    assert not agentproc.alive(older)
    agentproc.stop([older], grace=0)
    time.sleep(0.05)
    assert agentproc.alive(process)


def test_a_name_with_parentheses_does_not_confuse(start: Start, tmp_path: Path) -> None:
    program = tmp_path / "a) S 1 (b"
    program.symlink_to("/bin/sleep")
    process = start(f"exec '{program}' 60")
    wait_for(lambda: ") S 1 (" in Path(f"/proc/{process.pid}/stat").read_text())
    assert agentproc.alive(process)


def test_inside_finds_what_is_in_a_namespace_but_not_itself(start: Start) -> None:
    process = start("sleep 60")
    here = agentproc.inside([Path("/proc/self/ns/net")])
    assert process in here
    assert os.getpid() not in {found.pid for found in here}
    assert agentproc.inside([Path("/nonexistent")]) == []


def test_sigterm_comes_first(start: Start, tmp_path: Path) -> None:
    process = start("trap 'echo told; exit 0' TERM; echo ready; while :; do sleep 0.02; done")
    wait_for(lambda: "ready" in (tmp_path / "log").read_text())
    agentproc.stop([process])
    assert "told" in (tmp_path / "log").read_text()
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, signal.SIGCONT)
