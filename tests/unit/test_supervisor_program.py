# SPDX-License-Identifier: Apache-2.0
"""The supervisor as a program: what it does with signals, and how agents are started."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fwd.supervisor import saying
from fwd.supervisor.supervisor import STOP_SECONDS
from tests.unit.supervisor_support import LIMIT, ROOT, Program

STAYS = """
def told(number, _frame):
    say("told", signal.Signals(number).name)

for one in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
    signal.signal(one, told)
say("ready")
while True:
    time.sleep(60)
"""
ENDS = STAYS.replace("(number).name)", "(number).name)\n    sys.exit(0)")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT])
def test_what_ends_it_ends_its_agent_first(tmp_path: Path, number: signal.Signals) -> None:
    with Program(tmp_path, ENDS).running() as program:
        program.hears("ready")
        program.tell(number)
        assert program.ended() == 0
        passed_on = number if number == signal.SIGINT else signal.SIGTERM
        assert program.said == ["ready", f"told {passed_on.name}"]


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_kills(tmp_path: Path, second: signal.Signals) -> None:
    """Though the agent is told once: its own first word may have come from elsewhere."""
    with Program(tmp_path, STAYS).running() as program:
        program.hears("ready")
        begin = time.monotonic()
        program.tell(signal.SIGTERM)
        program.hears("ready", "told SIGTERM")
        program.tell(signal.SIGHUP)  # a terminal that goes away is nobody's impatience
        time.sleep(0.3)
        assert program.process.poll() is None
        program.tell(second)
        assert program.ended() == 128 + signal.SIGKILL
        assert time.monotonic() - begin < STOP_SECONDS - 2
        assert program.said == ["ready", "told SIGTERM"]


def test_a_terminal_that_goes_away_is_not_the_first_of_two(tmp_path: Path) -> None:
    with Program(tmp_path, STAYS).running() as program:
        program.hears("ready")
        program.tell(signal.SIGHUP)
        program.hears("ready", "told SIGTERM")
        program.tell(signal.SIGTERM)
        time.sleep(0.3)
        assert program.process.poll() is None
        program.tell(signal.SIGTERM)
        assert program.ended() == 128 + signal.SIGKILL


def test_with_nohup_it_stays(tmp_path: Path) -> None:
    with Program(tmp_path, STAYS).running("nohup") as program:
        program.hears("ready")
        program.tell(signal.SIGHUP)
        time.sleep(0.3)
        assert program.said == ["ready"]
        program.tell(signal.SIGTERM)
        program.hears("ready", "told SIGTERM")


def test_an_agent_has_no_signals_of_its_supervisor(tmp_path: Path) -> None:
    agent = """
numbers = signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGCHLD
say(*(signal.getsignal(one).name for one in numbers))
say(signal.pthread_sigmask(signal.SIG_BLOCK, []))
"""
    with Program(tmp_path, agent).running() as program:
        assert program.ended() == 0
        assert program.said == ["SIG_DFL SIG_DFL SIG_DFL SIG_DFL", "set()"]


FORK = """
import os, signal, time
from fwd.supervisor.child import Child
from fwd.supervisor.supervisor import Supervisor

supervisor = Supervisor([], keeps_spare=False)
os.setpgid = lambda *_: time.sleep(0.3)
child = Child.start(["--version"], waits=False)
os.kill(child.pid, signal.SIGTERM)
print(os.waitstatus_to_exitcode(os.waitpid(child.pid, 0)[1]))
print([signal.Signals(one).name for one in os.read(supervisor._wake, 64)])
print(signal.pthread_sigmask(signal.SIG_BLOCK, []))
"""


def test_a_signal_between_fork_and_exec_is_not_lost() -> None:
    """Nor is it taken for the supervisor's."""
    done = subprocess.run(
        [sys.executable, "-c", FORK], capture_output=True, timeout=LIMIT, check=True, cwd=ROOT
    )
    assert done.stdout.decode().splitlines() == [str(-signal.SIGTERM), "['SIGCHLD']", "set()"]


def test_the_current_directory_has_nothing_to_say(tmp_path: Path) -> None:
    program = Program(tmp_path, 'say("own", *sys.argv[1:])')
    program.directory = tmp_path / "elsewhere"
    plant(program.directory)
    with program.running():
        assert program.ended() == 0
        assert program.said == ["own run --flag"]


def test_by_its_path_it_is_the_package_that_the_file_is_in(tmp_path: Path) -> None:
    plant(tmp_path)
    done = subprocess.run(
        [sys.executable, "-P", str(ROOT / "fwd" / "__main__.py"), "version"],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        timeout=LIMIT,
        check=False,
    )
    assert (done.returncode, done.stdout[:4]) == (0, b"fwd ")


def plant(place: Path) -> None:
    """Another package of our name."""
    (place / "fwd").mkdir(parents=True)
    (place / "fwd" / "__init__.py").write_text("")
    for name in ("__main__.py", "cli.py"):
        (place / "fwd" / name).write_text("raise SystemExit(33)")


CRASHES = """
fifo = os.open("fifo", os.O_WRONLY)
put("d", descriptors=[fifo])
tell("begun")
say("begun")
sys.exit(1)
"""


@pytest.mark.parametrize("form", ["text", "json"])
def test_in_a_loop_of_crashes_nothing_is_kept(tmp_path: Path, form: str) -> None:
    """Whoever stands by, or comes, is to find the device free."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    with Program(tmp_path, CRASHES, form).running() as program:

        def crashes() -> int:
            return sum("agent-crashed" in line for line in program.log)

        held = []
        for times in range(1, 6):
            program.waits_for(lambda: crashes() == times)  # noqa: B023 - called at once
            held.append(is_held(reader))
        assert (held[1], *held[3:]) == (True, False, False), "of the third the pause is short"
        lines = program.log
        assert len(lines) == 6
        program.tell(signal.SIGTERM)
        assert program.ended() == 0
    os.close(reader)
    if form == "json":
        found = [json.loads(line) for line in lines]
        assert [one["event"] for one in found].count("store-dropped") == 1
        last = found[-1]
        assert list(last)[:3] == ["time", "level", "event"]
        assert (last["level"], last["reason"]) == ("warning", "exit code 1")
        assert (last["in-a-row"], last["again-in-seconds"]) == (5, 2)
        assert last["lived-seconds"] < LIMIT
    else:
        assert sum("event=store-dropped text=" in line for line in lines) == 1
        assert lines[-1].endswith("in-a-row=5 again-in-seconds=2")
        assert 'reason="exit code 1" lived-seconds=0' in lines[-1]


def test_one_that_gave_its_supervisor_up_before_it_had_begun_is_followed(tmp_path: Path) -> None:
    words = "put('d')\ntalk.send(b'forget')\nsys.exit(1)\n"
    with Program(tmp_path, words, "text").running() as program:
        program.waits_for(lambda: any("agent-crashed" in line for line in program.log))


@pytest.mark.parametrize("end", ["sys.exit(3)", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_before_it_has_begun_only_one_that_was_killed_is_followed(tmp_path: Path, end: str) -> None:
    words = f"import signal\nfd = os.open('/dev/null', os.O_RDONLY)\nput('d', '', [fd])\n{end}\n"
    with Program(tmp_path, words, "text").running() as program:
        if end.startswith("sys"):
            assert program.ended() == 3
            assert program.log == []
        else:
            program.waits_for(lambda: any("agent-crashed" in line for line in program.log))


def is_held(reader: int) -> bool:
    """Whether anybody has the other end."""
    try:
        return os.read(reader, 1) != b""
    except BlockingIOError:
        return True


def test_whatever_is_said_is_json(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(saying, "_form", "json")
    odd = 'a "quoted" \\ and\nother\tlines \x1b ü \udcff'
    saying.say("agent-crashed", some_words=odd, number=0.25)
    found = json.loads(capfd.readouterr().err)
    assert found | {"time": ""} == {
        "time": "",
        "level": "warning",
        "event": "agent-crashed",
        "some-words": odd.replace("\udcff", "?"),
        "number": 0.25,
    }
    assert found["time"].endswith("Z")
    assert len(found["time"]) == len("2026-01-01T00:00:00.000Z")
