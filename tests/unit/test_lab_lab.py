# SPDX-License-Identifier: Apache-2.0
"""Whose lab is taken down.  Excluded: that it is (tests/netns/test_lab.py)."""

from pathlib import Path

import pytest

from fwd.lab import building, lab, netns
from fwd.lab.agentproc import Process
from fwd.lab.errors import LabError
from fwd.lab.state import Phase, State, StateDir
from fwd.lab.topology import Spec, node_specs, plan

OTHER = State(Spec("other", node_specs(fwd=1, kernel=0)), Phase.UP, {"n1": Process(42, 4711)})


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> list[Process]:
    """Agents that were to be stopped."""
    found: list[Process] = []

    def dismantle(_: object, *, agents: tuple[Process, ...] = ()) -> int:
        found.extend(agents)
        return len(found)

    monkeypatch.setattr(building, "dismantle", dismantle)
    monkeypatch.setattr(netns, "existing", lambda _: [])
    return found


def test_a_lab_of_another_name_is_left_alone(tmp_path: Path, stopped: list[Process]) -> None:
    directory = StateDir(tmp_path)
    directory.save(OTHER)
    (tmp_path / "api").mkdir()
    with pytest.raises(LabError, match=f"{tmp_path} belongs to lab other"):
        lab.remove("fwddemo", directory)
    assert stopped == []
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["api", "lab.json"]


@pytest.mark.parametrize("phase", list(Phase))
def test_nor_is_another_built_there(tmp_path: Path, stopped: list[Process], phase: Phase) -> None:
    directory = StateDir(tmp_path)
    directory.save(State(OTHER.spec, phase, OTHER.agents))
    wanted = plan(Spec("t", OTHER.spec.nodes))
    with pytest.raises(LabError, match=f"{tmp_path} belongs to lab other"):
        lab.up(wanted, directory, say=print)
    assert (stopped, directory.load()) == ([], State(OTHER.spec, phase, OTHER.agents))


def test_its_own_is_taken_down(tmp_path: Path, stopped: list[Process]) -> None:
    directory = StateDir(tmp_path)
    directory.save(OTHER)
    assert lab.remove("other", directory).processes == 1
    assert stopped == [Process(42, 4711)]
    assert list(tmp_path.iterdir()) == []
