# SPDX-License-Identifier: Apache-2.0
"""Nodes join and leave a lab that is up; its API server, or its file of leases, tells the others.

Bounds are of seconds: how fast it really is, the demo prints.
"""

import json
import os
import signal
from collections.abc import Iterator

import pytest

from fwd.lab import agentproc, episode, meeting, topology
from fwd.lab.state import StateDir
from fwd.lab.topology import NodeKind, Topology
from tests.netns.lab_support import Lab, own_lab, require, wait_for

pytestmark = [pytest.mark.netns, pytest.mark.root]

IN_TIME = 5.0  # seconds on a machine that is busy with other tests


@pytest.fixture
def lab() -> Iterator[Lab]:
    require(fwd=True)
    yield from own_lab("lm")


@pytest.fixture(scope="module")
def running() -> Iterator[Lab]:
    """Two nodes that run fwd and a kernel one; each test leaves it with just these."""
    require(fwd=True)
    for lab in own_lab("lj"):
        up = lab.run("up")
        assert up.returncode == 0, up.stderr
        yield lab


def plan(lab: Lab) -> Topology:
    return topology.plan(StateDir(lab.state_dir).state().spec)


def shown(lab: Lab, node: str, *words: str) -> str:
    done = lab.run("exec", node, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def said(lab: Lab, node: str) -> dict[str, object]:
    """An agent's own status."""
    nodes = json.loads(lab.run("status", "--json").stdout)["nodes"]
    [found] = (one["agent"]["said"] for one in nodes if one["name"] == node)
    return dict(found)


def leases(lab: Lab, node: str) -> set[str]:
    found = said(lab, node)["leases"]
    assert isinstance(found, list)
    return {lease["node"] for lease in found}


@pytest.mark.parametrize("kind", [NodeKind.FWD, NodeKind.KERNEL])
def test_a_node_joins_and_leaves_while_tcp_flows(running: Lab, kind: NodeKind) -> None:
    state_dir = StateDir(running.state_dir)
    seen = episode.play(plan(running), kind=kind, state_dir=state_dir, say=print, name="n77")
    assert seen.reachable.keys() == seen.gone.keys() == {"n1-p1, IPv4", "n3-p1, IPv4"}, "a kind"
    for seconds in (*seen.reachable.values(), *seen.gone.values()):
        assert seconds is not None
        assert 0 < seconds < IN_TIME
    assert seen.flow is not None
    assert seen.flow.longest < IN_TIME
    assert seen.flow.answers > 50
    assert [node.name for node in plan(running).nodes] == ["n1", "n2", "n3"]
    assert running.run("status").returncode == 0


def test_a_kernel_node_has_what_the_nodes_say_and_loses_it(running: Lab) -> None:
    joined = running.run("join", "n9", "--kernel")
    assert joined.returncode == 0, joined.stderr
    assert "n9 (kernel) joined: n9-p1 10.244.9.2" in joined.stdout
    fdb = shown(running, "n9", "bridge", "fdb", "show", "dev", "flannel.1")
    tunnels = said(running, "n1")["tunnels"]
    assert isinstance(tunnels, list)
    mac = tunnels[0]["vtep-mac"]
    assert f"{mac} dst 192.168.50.1 self permanent" in fdb, "what fwd has drawn and published"
    assert leases(running, "n1") == {"n2", "n3", "n9"}
    route = "10.244.9.0/24 via 10.244.9.0 dev flannel.1 onlink"
    assert route in shown(running, "n3", "ip", "route")
    assert running.run("leave", "n9").returncode == 0
    wait_for(lambda: leases(running, "n1") == {"n2", "n3"}, limit=IN_TIME)
    wait_for(lambda: route not in shown(running, "n3", "ip", "route"), limit=IN_TIME)
    for words in (("ip", "neigh"), ("bridge", "fdb")):
        left = shown(running, "n3", *words, "show", "dev", "flannel.1")
        assert "192.168.50.9" not in left
        assert "10.244.9.0" not in left
    assert not [name for name in running.namespaces() if "n9" in name]


def test_the_lowest_free_index_is_taken_and_wrong_names_are_one_line(running: Lab) -> None:
    try:
        assert "n4 (fwd) joined" in running.run("join").stdout
        assert "n4-p1" in running.run("status").stdout
        assert "was already up" in running.run("up").stdout, "as it was built, and one more"
    finally:
        assert running.run("leave", "n4").stdout == "n4 left\n"
    for words, says in (
        (("join", "n1"), "there is a node n1 already"),
        (("join", "x"), "'x' is no name of a node"),
        (("join", "n251"), "at most 250 nodes"),
        (("leave", "n4"), "no node 'n4': there are n1, n2, n3"),
    ):
        done = running.run(*words)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
        assert says in done.stderr


def test_who_does_not_know_whom_is_told(running: Lab) -> None:
    found, state_dir = plan(running), StateDir(running.state_dir)
    more = topology.plan(topology.with_node(found.spec, "n8", NodeKind.FWD))
    for node in found.nodes:
        assert meeting.strangers(found, node, state_dir=state_dir) == set()
        assert meeting.strangers(more, node, state_dir=state_dir) == {"n8"}


def test_a_join_that_is_interrupted_leaves_the_lab_as_it_was(lab: Lab) -> None:
    assert lab.run("up", "--nodes", "1", "--kernel-nodes", "1").returncode == 0
    before = lab.namespaces()
    # So that it comes as far as its agent, which then reaches no API server.
    shown(lab, "switch", "ip", "link", "set", "br0", "down")
    with lab.start("join") as joining:
        wait_for((lab.state_dir / f"{lab.prefix}-n3" / "agent.log").exists)
        os.killpg(joining.pid, signal.SIGINT)
        joining.communicate(timeout=60)
    assert joining.returncode == 128 + signal.SIGINT
    assert lab.namespaces() == before
    assert [node.name for node in plan(lab).nodes] == ["n1", "n2"]
    shown(lab, "switch", "ip", "link", "set", "br0", "up")
    joined = lab.run("join")
    assert joined.returncode == 0, joined.stderr


def test_with_static_leases_nodes_join_and_leave_too(lab: Lab) -> None:
    up = lab.run("up", "--source", "static", "--nodes", "1", "--kernel-nodes", "1")
    assert up.returncode == 0, up.stderr
    for kind in (["--kernel"], []):
        joined = lab.run("join", "n5", *kind)
        assert joined.returncode == 0, joined.stderr
        for pod in ("n1-p1", "n2-p1"):
            shown(lab, pod, "ping", "-c1", "-W2", "10.244.5.2")
        assert lab.run("leave", "n5").returncode == 0
        assert "10.244.5" not in shown(lab, "n2", "ip", "route")
        wait_for(lambda: leases(lab, "n1") == {"n2"}, limit=IN_TIME)


def test_an_api_server_that_ended_is_seen_and_the_lab_built_anew(lab: Lab) -> None:
    shape = ("--nodes", "1", "--kernel-nodes", "1")
    assert lab.run("up", *shape).returncode == 0
    agentproc.stop([StateDir(lab.state_dir).state().agents["apiserver"]])
    status = lab.run("status")
    assert status.returncode == 1
    assert "ENDED" in status.stdout
    shown(lab, "n1-p1", "ping", "-c1", "-W2", "10.244.2.2")
    join = lab.run("join")
    assert join.returncode == 1
    assert "the API server's stand-in does not answer" in join.stderr
    assert len(plan(lab).nodes) == 2
    assert lab.run("up", *shape).returncode == 0
    assert lab.run("status").returncode == 0
