# SPDX-License-Identifier: Apache-2.0
"""`fwd run --kube-subnet-mgr`: nodes meet, start without the API server, and are changed by it.

Excluded: an API server that misbehaves (test_agent_kube_adversity), the own Node's texts
(tests/unit/test_kube_node.py).
"""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from fwd.lab.apiserver.access import FLANNEL_ROLE
from tests.netns.agent_support import wait_for
from tests.netns.kube_cluster import RETURN_SECONDS, KubeCluster, Nodes, meet, running

pytestmark = [pytest.mark.netns, pytest.mark.root]

P = "flannel.alpha.coreos.com/"


@pytest.fixture
def kube(tmp_path: Path) -> Iterator[KubeCluster]:
    with running(KubeCluster(tmp_path)) as made:
        yield made


@pytest.fixture
def nodes(kube: KubeCluster) -> Nodes:
    """Agents that a test may end."""
    return meet(kube)


def test_two_nodes_meet_through_the_api(nodes: Nodes) -> None:
    kube, first, second = nodes
    assert kube.n1.pings("10.244.2.0")
    assert kube.published("n1") == {
        P + "backend-data": '{"VNI":1,"VtepMAC":"' + first.tunnel()["vtep-mac"] + '"}',
        P + "backend-type": "vxlan",
        P + "kube-subnet-manager": "true",
        P + "public-ip": "192.168.50.1",
    }
    status = second.status()
    assert status["source"]["standing"] == "watching"
    assert status["source"]["leases-of"] == "source"
    assert status["refused"] == []
    assert len(second.lines("vtep-mac")) == 1, "what it has published is no news to it"
    assert "FLANNEL_SUBNET=10.244.2.1/24" in (second.run_dir / "subnet.env").read_text()
    assert kube.server.verbs() <= FLANNEL_ROLE


def test_a_node_joins_and_leaves(nodes: Nodes) -> None:
    kube, first, _ = nodes
    kube.put(4)
    wait_for("n4", lambda: len(first.status()["leases"]) == 3, 1)
    kube.api.do(lambda server: server.nodes.delete("n4"))
    wait_for("n4 is gone", lambda: len(first.status()["leases"]) == 2, 1)
    kube.put(4, cidr="10.244.2.0/24", created="2027-01-01T00:00:00Z")
    line = first.says("node-refused")
    assert "subnets 10.244.2.0/24 of node n2 and 10.244.2.0/24 of node n4 overlap" in line
    assert [one["node"] for one in first.status()["refused"]] == ["n4"]
    assert kube.n1.pings("10.244.2.0")


def test_a_start_without_the_api_server_forwards_by_what_was_saved(
    nodes: Nodes,
) -> None:
    kube, first, _ = nodes
    saved = first.run_dir / "leases.saved"
    wait_for("the saved state", lambda: saved.exists() and b"n2" in saved.read_bytes())
    mac = first.tunnel()["vtep-mac"]
    kube.api.wait(kube.server.stop())
    first.stop(signal.SIGKILL)
    again = kube.start("n1")
    assert 'leases-of="saved state"' in again.says("forwarding")
    assert kube.n1.pings("10.244.2.0")
    status = again.status()
    assert status["source"]["leases-of"] == "saved state"
    assert status["source"]["standing"] == "away"
    assert (again.tunnel()["vtep-mac"], len(status["leases"])) == (mac, 2)
    kube.put(3, public_ip="192.168.9.9")
    kube.api.wait(kube.server.start())
    wait_for("the truth", lambda: kube.third_is(again, "192.168.9.9"), RETURN_SECONDS)
    assert again.status()["source"]["leases-of"] == "source"


def test_the_last_leases_are_saved_at_a_clean_end(
    nodes: Nodes,
) -> None:
    kube, first, _ = nodes
    wait_for("the saved state", (first.run_dir / "leases.saved").exists)
    seen = len(first.lines("leases"))
    kube.put(3, public_ip="192.168.9.9")
    first.says("leases", times=seen + 1)
    assert first.stop()[0] == 0
    kube.api.wait(kube.server.stop())
    again = kube.started("n1")
    assert kube.third_is(again, "192.168.9.9")


@pytest.mark.parametrize("content", [b"", b"not ours", b"fwd leases 1\n\0\0\0\0rest"])
def test_a_damaged_saved_state_is_set_aside(kube: KubeCluster, content: bytes) -> None:
    run_dir = kube.directory / "n1"
    run_dir.mkdir()
    (run_dir / "leases.saved").write_bytes(content)
    agent = kube.started("n1")
    assert "leases.saved.set-aside" in agent.says("saved-state-set-aside")
    assert (run_dir / "leases.saved.set-aside").read_bytes() == content


def test_a_subnet_that_changes_is_registered_anew(
    nodes: Nodes,
) -> None:
    kube, first, second = nodes
    mac = first.tunnel()["vtep-mac"]
    kube.put(1, cidr="10.244.77.0/24", annotations=kube.published("n1"))
    assert "subnet=10.244.77.0/24" in first.says("own-lease-changed")
    first.says("tunnel-restored")
    wait_for("n2 knows", lambda: "10.244.77.0/24" in str(second.status()["leases"]))
    assert kube.n2.pings("10.244.77.0")
    assert "FLANNEL_SUBNET=10.244.77.1/24" in (first.run_dir / "subnet.env").read_text()
    assert first.tunnel()["vtep-mac"] == mac


def test_an_overwrite_changes_what_is_published_and_nothing_else(
    nodes: Nodes,
) -> None:
    kube, first, _ = nodes
    kube.api.do(lambda server: server.change("n1", public_ip_overwrite="203.0.113.1"))
    wait_for("published", lambda: kube.published("n1")[P + "public-ip"] == "203.0.113.1")
    assert not first.lines("tunnel-restored"), "packets flowed on"
    kube.api.do(lambda server: server.change("n1", public_ip_overwrite=None))
    wait_for("back", lambda: kube.published("n1")[P + "public-ip"] == "192.168.50.1")


def test_without_a_subnet_it_waits_and_says_so(kube: KubeCluster) -> None:
    kube.put(1, cidr="", annotations={})
    agent = kube.start("n1")
    assert "pod cidr not assigned" in agent.says("waiting")
    kube.put(1, annotations={})
    agent.says("forwarding")
