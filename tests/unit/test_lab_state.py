# SPDX-License-Identifier: Apache-2.0
"""The lab's directory: what is read back, what is refused, what is removed."""

import fcntl
import os
import threading
from pathlib import Path

import pytest

from fwd.lab import state
from fwd.lab.agentproc import Process
from fwd.lab.errors import LabError
from fwd.lab.state import Damaged, Phase, State, StateDir
from fwd.lab.topology import Spec, node_specs

STATE = State(
    Spec(prefix="t", nodes=node_specs(fwd=1, kernel=1), run_args=("--workers=1",)),
    Phase.UP,
    {"n1": Process(42, 4711)},
)


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StateDir:
    monkeypatch.setattr(state, "_MAX_PATH", 1000)  # pytest's paths are long, and have no socket
    return StateDir(tmp_path)


@pytest.fixture
def new(directory: StateDir) -> StateDir:
    """One that is not there yet."""
    return StateDir(directory.root / "lab")


def test_what_was_saved_is_loaded(directory: StateDir) -> None:
    directory.save(STATE)
    assert directory.load() == STATE


def test_nothing_saved_is_none(directory: StateDir) -> None:
    assert directory.load() is None
    assert StateDir(directory.root / "missing").load() is None


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"spec": 1}', b"\xff\xfe"])
def test_a_file_that_makes_no_sense_is_damaged(directory: StateDir, text: bytes) -> None:
    (directory.root / "lab.json").write_bytes(text)
    assert directory.load() is Damaged.DAMAGED


def test_clear_removes_what_the_lab_wrote_and_only_that(directory: StateDir) -> None:
    directory.save(STATE)
    for name in ("leases.json", "net-conf.json", "lab.json.new", "mine.txt"):
        (directory.root / name).write_text("")
    (directory.root / "t-n1").mkdir()
    (directory.root / "t-n1" / "agent.log").write_text("")
    (directory.root / "u-n1").mkdir()
    assert directory.foreign("t") == ["mine.txt", "u-n1"]
    directory.clear("t")
    assert sorted(entry.name for entry in directory.root.iterdir()) == ["mine.txt", "u-n1"]


def test_a_directory_without_the_labs_own_file_is_somebody_elses(directory: StateDir) -> None:
    (directory.root / "api").mkdir()
    (directory.root / "api" / "handlers.py").write_text("precious")
    for name in ("net-conf.json", "cni-conf.json", "leases.json.new"):
        (directory.root / name).write_text("precious")
    (directory.root / "t-n1").mkdir()
    names = sorted(entry.name for entry in directory.root.iterdir())
    assert directory.foreign("t") == names
    directory.clear("t")
    assert sorted(entry.name for entry in directory.root.iterdir()) == names
    (directory.root / "lab.json.new").write_text("")  # of an `up` that was killed at once
    assert directory.foreign("t") == []
    directory.clear("t")
    assert list(directory.root.iterdir()) == []


def test_the_default_directory_is_the_labs_without_its_file_too(
    directory: StateDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "_DEFAULT", directory.root)
    own = state.default("t")
    (own.root / "api").mkdir(parents=True)
    assert own.foreign("t") == []
    own.clear("t")
    assert list(own.root.iterdir()) == []


def test_clear_does_not_follow_a_link(
    directory: StateDir, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory.save(STATE)
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "precious").write_text("")
    (directory.root / "t-n1").symlink_to(elsewhere)
    directory.clear("t")
    assert (elsewhere / "precious").exists()
    assert not (directory.root / "t-n1").is_symlink()


def test_an_empty_directory_goes_with_the_lock(new: StateDir) -> None:
    with new.locked():
        assert new.root.is_dir()
    assert not new.root.exists()
    with new.locked():
        new.save(STATE)
    assert new.load() == STATE


def test_one_command_at_a_time(new: StateDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "_LOCK_PATIENCE", 0.1)
    with new.locked(), pytest.raises(LabError, match="another fwd lab command"), new.locked():
        pass


def test_the_next_command_waits_its_turn(new: StateDir) -> None:
    order = []
    waiting = threading.Event()

    def second() -> None:
        waiting.set()
        with new.locked():
            order.append("second")

    thread = threading.Thread(target=second)
    with new.locked():
        thread.start()
        assert waiting.wait(10)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]
    assert not new.root.exists()


def test_a_lock_on_a_directory_that_was_removed_is_no_lock(
    new: StateDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = fcntl.flock
    locked: list[int] = []

    def late(fd: int, how: int) -> None:
        if not locked:  # its holder removes it between our open and our flock
            new.root.rmdir()
            new.root.mkdir()
        locked.append(os.fstat(fd).st_ino)
        real(fd, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with new.locked():
        assert len(locked) == 2
        assert new.root.stat().st_ino == locked[1]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/nonexistent/lab", "does not exist"),
        ("/dev/null", "cannot use"),
        ("/tmp/" + "x" * 80, "too long"),
    ],
)
def test_a_directory_that_cannot_be_is_one_line(path: str, words: str) -> None:
    with pytest.raises(LabError, match=words) as error, StateDir(Path(path)).locked():
        pass
    assert "\n" not in str(error.value)


def test_each_prefix_has_a_directory_of_its_own() -> None:
    assert state.default("fwdlab").root == Path("/run/fwd-lab")
    assert state.default("other").root == Path("/run/fwd-lab.other")
