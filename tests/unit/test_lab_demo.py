# SPDX-License-Identifier: Apache-2.0
"""`fwd lab demo`: which lab it builds and whose it leaves alone.  Excluded: a real one."""

import os
from pathlib import Path
from typing import Any

import pytest

from fwd.lab import child, cli, lab, netns, state
from fwd.lab.agentproc import Process
from fwd.lab.errors import NoVxlanError
from fwd.lab.matrix import Matrix
from fwd.lab.state import Phase, State, StateDir
from fwd.lab.topology import NodeKind, Spec, Topology, node_specs

Built = list[list[str]]


@pytest.fixture(autouse=True)
def _rootless(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(child, "require", lambda *_: None)
    monkeypatch.setattr(netns, "existing", lambda _: [])
    monkeypatch.setattr(state, "_MAX_PATH", 1000)  # pytest's paths are long, and have no socket


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> Built:
    """The data planes of each lab that was built, on a kernel without vxlan; all measures well."""
    found: Built = []

    def up(wanted: Topology, *_: object, **__: object) -> Topology:
        found.append([node.kind.value for node in wanted.nodes])
        if any(node.kind is NodeKind.KERNEL for node in wanted.nodes):
            raise NoVxlanError
        return wanted

    def measured(wanted: Topology, _: object) -> Matrix:
        assert [node.kind.value for node in wanted.nodes] == found[-1]
        fine: Any = type("Fine", (), {"problems": ()})
        return Matrix([fine], 0)

    monkeypatch.setattr(lab, "up", up)
    monkeypatch.setattr(lab, "remove", lambda *_: lab.Removed(0, 0))
    monkeypatch.setattr(cli, "_measure", measured)
    monkeypatch.setattr(cli, "_change", lambda *_: None)
    return found


def test_where_the_kernel_has_no_vxlan_a_demo_does_without_it(
    built: Built, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["demo", "--state-dir", str(tmp_path / "s")]) == 0
    assert built == [["fwd", "fwd", "kernel"], ["fwd", "fwd"]]
    said = "fwd lab: this kernel has no vxlan device: no kernel node takes part\n"
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("command", ["up", "demo"])
def test_a_kernel_node_that_was_asked_for_is_not_left_out(
    built: Built, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    words = [command, "--kernel-nodes", "2", "--state-dir", str(tmp_path / "s")]
    assert cli.main(words) == 1
    assert built == [["fwd", "fwd", "kernel", "kernel"]]
    said = "fwd lab: this kernel has no vxlan device: give --kernel-nodes 0\n"
    assert said in capsys.readouterr().err


def test_up_without_vxlan_says_what_to_give(
    built: Built, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["up", "--state-dir", str(tmp_path / "s")]) == 1
    assert built == [["fwd", "fwd", "kernel"]]
    said = "fwd lab: this kernel has no vxlan device: give --kernel-nodes 0\n"
    assert capsys.readouterr().err.endswith(said)


def test_a_demo_leaves_the_lab_of_a_named_directory_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = State(Spec("other", node_specs(fwd=1, kernel=0)), Phase.UP, {"n1": Process(1, 1)})
    StateDir(tmp_path).save(other)
    (tmp_path / "other-n1").mkdir()
    assert cli.main(["demo", "--state-dir", str(tmp_path)]) == 1
    assert f"{tmp_path} belongs to lab other\n" in capsys.readouterr().err
    assert StateDir(tmp_path).load() == other


def test_a_demo_takes_nothing_from_a_directory_of_somebody_elses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "api").mkdir()
    assert cli.main(["demo", "--state-dir", str(tmp_path)]) == 1
    assert "holds api, which is not the lab's" in capsys.readouterr().err
    assert [entry.name for entry in tmp_path.iterdir()] == ["api"]
