# SPDX-License-Identifier: Apache-2.0
"""How a lab's parts are put up: what a node without a tunnel gets, a kernel without vxlan, limits.

Excluded: that the kernel takes it (tests/netns/test_lab.py).
"""

import time
from collections.abc import Iterable
from pathlib import Path

import msgspec
import pytest

from fwd.lab import building, meeting, netns, report
from fwd.lab import service as services
from fwd.lab.agentproc import Process
from fwd.lab.errors import LabError, NoVxlanError
from fwd.lab.service import Program
from fwd.lab.state import Phase, State, StateDir
from fwd.lab.steps import Step, Tool
from fwd.lab.survey import LabStatus, LinkStatus, NodeStatus
from fwd.lab.topology import NodeKind, NodeSpec, Source, Spec, Topology, Wiring, node_specs, plan

FWD, KERNEL, BARE = NodeKind.FWD, NodeKind.KERNEL, NodeKind.BARE
REFUSED = "t-n1: ip link add flannel.1 mtu 1450 type vxlan id 1: "


def lab(*kinds: NodeKind) -> Topology:
    nodes = tuple(NodeSpec(index, kind) for index, kind in enumerate(kinds, start=1))
    return plan(Spec(prefix="t", nodes=nodes, wiring=Wiring.CNI))


def put_up(topology: Topology, directory: Path) -> State:
    state = State(topology.spec, Phase.BUILDING)
    nodes, state_dir = topology.nodes, StateDir(directory)
    return building.data_planes(topology, nodes, state=state, state_dir=state_dir)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Step]]:
    """What the kernel is told, and in which namespace; nothing is there before."""
    found: list[tuple[str, Step]] = []

    def apply(namespace: str, steps: Iterable[Step]) -> None:
        found.extend((namespace, step) for step in steps)

    monkeypatch.setattr(netns, "apply", apply)
    monkeypatch.setattr(netns, "links", lambda _: [])
    return found


def test_a_bare_node_has_firewall_rules_and_no_device(
    told: list[tuple[str, Step]], tmp_path: Path
) -> None:
    assert put_up(lab(BARE, BARE), tmp_path).agents == {}
    assert {namespace for namespace, _ in told} == {"t-n1", "t-n2"}
    assert {step.tool for _, step in told} == {Tool.NFT}


def test_a_kernel_node_has_the_same_rules_and_no_way_to_a_bare_one(
    told: list[tuple[str, Step]], tmp_path: Path
) -> None:
    put_up(lab(KERNEL, BARE, KERNEL), tmp_path)
    rules = {
        name: sum(1 for namespace, step in told if (namespace, step.tool) == (name, Tool.NFT))
        for name in ("t-n1", "t-n2")
    }
    assert rules["t-n1"] == rules["t-n2"] > 0
    routes = [step.line for _, step in told if step.line.startswith("route")]
    assert [line.split()[2] for line in routes] == ["10.244.3.0/24", "10.244.1.0/24"]


def test_nobody_waits_for_a_bare_node(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    topology = lab(KERNEL, BARE, KERNEL)
    monkeypatch.setattr(meeting, "_kernels", lambda *_: {"10.244.3.0/24"})
    found = [
        meeting.strangers(topology, node, state_dir=StateDir(tmp_path)) for node in topology.nodes
    ]
    assert found == [set(), set(), {"n1"}]


def test_a_lab_of_bare_nodes_is_written_down(tmp_path: Path) -> None:
    state, directory = State(lab(BARE, FWD).spec, Phase.UP), StateDir(tmp_path)
    directory.save(state)
    assert directory.load() == state


@pytest.mark.parametrize(
    "reason", ["Error: Unknown device type.", "RTNETLINK answers: Operation not supported"]
)
def test_a_kernel_without_vxlan_is_told_apart(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, reason: str
) -> None:
    def apply(*_: object) -> None:
        raise LabError(REFUSED + reason)

    monkeypatch.setattr(netns, "links", lambda _: [])
    monkeypatch.setattr(netns, "apply", apply)
    with pytest.raises(NoVxlanError, match="this kernel has no vxlan device"):
        put_up(lab(KERNEL), tmp_path)


def test_another_refusal_is_passed_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def apply(*_: object) -> None:
        raise LabError(REFUSED + "RTNETLINK answers: File exists")

    monkeypatch.setattr(netns, "links", lambda _: [])
    monkeypatch.setattr(netns, "apply", apply)
    with pytest.raises(LabError, match="File exists") as error:
        put_up(lab(KERNEL), tmp_path)
    assert not isinstance(error.value, NoVxlanError)


class Started:
    """An agent that notes how long it is waited for, from its start."""

    limits: list[float]
    process = Process(1, 1)

    def await_ready(self, deadline: float) -> None:
        self.limits.append(deadline - time.monotonic())


def test_many_agents_have_longer_to_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    limits: list[float] = []

    def start(_: Program) -> Started:
        started = Started()
        started.limits = limits
        return started

    def wait(*_: object, deadline: float, **__: object) -> None:
        limits.append(deadline - time.monotonic())

    monkeypatch.setattr(services, "start", start)
    monkeypatch.setattr(netns, "await_links", lambda *_, **__: None)
    monkeypatch.setattr(meeting, "wait", wait)
    one = lab(FWD)
    many = plan(msgspec.structs.replace(one.spec, nodes=node_specs(fwd=100, kernel=0)))
    assert many.spec.source is Source.STATIC
    for topology in (one, many):
        put_up(topology, tmp_path)
        building.settle(topology, topology.nodes[:1], state_dir=StateDir(tmp_path))
    alone, together = limits[:2], limits[2:]
    assert max(alone) < 25
    assert min(together) > 60


def test_a_bare_node_is_well_without_an_agent() -> None:
    link = LinkStatus("eth0", up=True, mtu=1500)
    node = NodeStatus("n1", BARE, ("192.168.50.1",), (link,), None, ())
    assert node.well
    shown = report.status_table(LabStatus("t", Phase.UP, 1500, (node,)))
    assert [next(iter(column.cells)) for column in shown.columns][1] == "none"
