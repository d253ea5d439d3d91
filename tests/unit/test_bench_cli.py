# SPDX-License-Identifier: Apache-2.0
"""`fwd bench` as a whole, without a lab: what it refuses at once, and what it says at the end."""

import contextlib
import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from fwd.bench import cli, contenders, destination, links, machine, report, rounds
from fwd.bench.contenders import Contender
from fwd.bench.outcome import Outcome, Sample
from fwd.lab import child
from fwd.lab.errors import LabError
from tests.unable import leave_out

SHORT = ("--contenders=fwd,kernel,relay", "--scenarios=tcp1", "--underlay=on")


class Stage:
    """What happened in which order; labs are built of nothing."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done: list[str] = []
        self.missing: dict[str, str] = {}
        monkeypatch.setattr(contenders, "built", self._built)
        monkeypatch.setattr(rounds, "run", self._run)
        monkeypatch.setattr(machine, "describe", lambda: self.done.append("described"))
        monkeypatch.setattr(machine, "agents", lambda _: ())
        monkeypatch.setattr(links, "switch", lambda *_: None)
        monkeypatch.setattr(links, "shown", lambda _: {})
        monkeypatch.setattr(child, "require", lambda *_: None)
        monkeypatch.setattr(child, "require_root", lambda: None)
        monkeypatch.setattr(report, "dumps", lambda _: "{}")
        monkeypatch.setattr(report, "tables", lambda _: "table")

    @contextlib.contextmanager
    def _built(
        self, contender: Contender, *_: object, **__: object
    ) -> Iterator[contenders.Running]:
        if why := self.missing.get(contender.name):
            raise LabError(why)
        self.done.append(f"built {contender.name}")
        yield contenders.Running(contender, None, None)  # type: ignore[arg-type]

    def _run(self, *_: object, **__: object) -> rounds.Measured:
        self.done.append("measured")
        outcome = Outcome(values={"tcp1": 1.0})
        sample = Sample("on", "tcp1", "fwd", 1, outcome, 0.0, 0.0, 0, moved=False, repeats=0)
        return rounds.Measured((sample,), complete=True, seconds=1.0)


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(monkeypatch)


def test_time_and_commit_are_those_of_the_beginning(stage: Stage) -> None:
    assert cli.main([*SHORT]) == 0
    assert stage.done[0] == "described"
    assert stage.done[-1] == "measured"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--scenarios=udp", "--underlay=off"), "no udp of fwd,kernel,relay with --underlay=off"),
        (("--contenders=relay", "--underlay=off,uso"), "no tcp1 of relay with --underlay=off,uso"),
    ],
)
def test_an_empty_schedule_is_refused(
    stage: Stage, words: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*SHORT, *words]) == 2
    assert stage.done == []
    assert capsys.readouterr().err == f"fwd bench: nothing to measure: {says}\n"


def test_all_that_is_missing_is_named(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    stage.missing = {"fwd": "no TUN", "kernel": "no vxlan", "relay": "no time"}
    assert cli.main([*SHORT]) == 1
    said = "nothing to measure: fwd: no TUN; kernel: no vxlan; relay: no time"
    assert capsys.readouterr().err == f"fwd bench: {said}\n"


def test_what_is_left_may_have_nothing_to_measure(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    stage.missing = {"fwd": "no TUN", "kernel": "no vxlan"}
    assert cli.main([*SHORT, "--underlay=off"]) == 1
    assert "measured" not in stage.done
    said = "no tcp1 of fwd,kernel,relay with --underlay=off: fwd: no TUN; kernel: no vxlan"
    assert capsys.readouterr().err == f"fwd bench: nothing to measure: {said}\n"


@pytest.mark.parametrize("option", ["--output", "--html"])
def test_a_file_that_cannot_be_is_said_before_measuring(
    stage: Stage, option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if option == "--html" and find_spec("matplotlib") is None:
        leave_out("needs matplotlib")
    file = tmp_path / "none" / "x"
    assert cli.main([*SHORT, f"{option}={file}"]) == 1
    assert stage.done == []
    assert capsys.readouterr().err == f"fwd bench: {file}: No such file or directory\n"


def test_a_disk_that_is_full_at_the_end_is_a_failure(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*SHORT, "--output=/dev/full"]) == 1
    assert stage.done[-1] == "measured"
    said = capsys.readouterr()
    assert said.err == "fwd bench: /dev/full: No space left on device\n"
    assert said.out == "table\n"


def test_trying_a_file_leaves_it_as_it_is(tmp_path: Path) -> None:
    old, new, link, fifo = (tmp_path / name for name in ("old", "new", "link", "fifo"))
    old.write_text("of yesterday")
    link.symlink_to(tmp_path / "nowhere")
    os.mkfifo(fifo)
    for file in (old, new, link, fifo, Path("/dev/null")):
        destination.check(str(file))
    assert old.read_text() == "of yesterday"
    assert {path.name for path in tmp_path.iterdir()} == {"old", "link", "fifo"}
    with pytest.raises(LabError, match="Is a directory"):
        destination.check(str(tmp_path))
