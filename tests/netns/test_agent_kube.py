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
from tests.netns.agent_support import FACTS, wait_for
from tests.netns.kube_cluster import (
    RETURN_SECONDS,
    STALL_SECONDS,
    KubeCluster,
    Nodes,
    meet,
    running,
)
from tests.unit.kube_support import node_object

pytestmark = [pytest.mark.netns, pytest.mark.root, pytest.mark.usefixtures("dev_mode")]

P = "flannel.alpha.coreos.com/"
KEYS = {4: ("backend-data", "public-ip"), 6: ("backend-v6-data", "public-ipv6")}
GATEWAY = {
    4: "FLANNEL_SUBNET=10.244.2.1/24\n",
    6: "FLANNEL_IPV6_SUBNET=fd00:244:0:2::1/64\n",
}
"""Of n2."""


@pytest.fixture
def families() -> tuple[int, ...]:
    """Both at once, unless a test says otherwise: what goes wrong goes wrong for both."""
    return (4, 6)


@pytest.fixture
def kube(tmp_path: Path, families: tuple[int, ...]) -> Iterator[KubeCluster]:
    with running(KubeCluster(tmp_path, families=families)) as made:
        yield made


@pytest.fixture
def nodes(kube: KubeCluster) -> Nodes:
    """Agents that a test may end."""
    return meet(kube)


@pytest.mark.parametrize("families", [(4,), (6,), (4, 6)], ids=["IPv4", "IPv6", "dual"])
def test_two_nodes_meet_through_the_api(nodes: Nodes) -> None:
    kube, first, second = nodes
    assert kube.reaches(kube.n1, "n2")
    published = {P + "backend-type": "vxlan", P + "kube-subnet-manager": "true"}
    for family in kube.families:
        data, address = KEYS[family]
        mac = first.tunnel(family)["vtep-mac"]
        published[P + data] = '{"VNI":1,"VtepMAC":"' + mac + '"}'
        published[P + address] = FACTS[family].underlay("n1")
    assert kube.published("n1") == published
    assert len(kube.server.patches()) == 4, "of each node one with annotations, one condition"
    status = second.status()
    assert status["source"]["standing"] == "watching"
    assert status["source"]["leases-of"] == "source"
    assert status["refused"] == []
    told = len(second.lines("vtep-mac"))
    assert told == len(kube.families), "what it has published is no news to it"
    text = (second.run_dir / "subnet.env").read_text()
    assert all(GATEWAY[family] in text for family in kube.families)
    assert kube.server.verbs() <= FLANNEL_ROLE


def test_a_node_joins_and_leaves(nodes: Nodes) -> None:
    kube, first, _ = nodes
    kube.put(4)
    wait_for("n4", lambda: len(first.status()["leases"]) == 6, 1)
    kube.api.do(lambda server: server.nodes.delete("n4"))
    wait_for("n4 is gone", lambda: len(first.status()["leases"]) == 4, 1)
    usurper = node_object(4, cidr="10.244.2.0/24", created="2027-01-01T00:00:00Z")
    kube.api.do(lambda server: server.nodes.put(usurper))
    line = first.says("node-refused")
    assert "subnets 10.244.2.0/24 of node n2 and 10.244.2.0/24 of node n4 overlap" in line
    assert [one["node"] for one in first.status()["refused"]] == ["n4"]
    assert kube.reaches(kube.n1, "n2")


def test_a_peer_that_gets_a_second_family_later(nodes: Nodes) -> None:
    """And loses it again: what changes in one family leaves the other alone."""
    kube, first, _ = nodes
    only = node_object(4)
    kube.api.do(lambda server: server.nodes.put(only))
    wait_for("n4 over IPv4", lambda: len(first.status()["leases"]) == 5, 1)
    assert first.status()["refused"] == []
    kube.put(4)
    wait_for("and IPv6", lambda: len(first.status()["leases"]) == 6, 1)
    kube.api.do(lambda server: server.change("n4", public_ipv6="fd09::4"))
    wait_for("and elsewhere", lambda: "fd09::4" in str(first.status()["leases"]), 1)
    kube.api.do(lambda server: server.nodes.put(only))
    wait_for("and no more", lambda: len(first.status()["leases"]) == 5, 1)
    assert kube.reaches(kube.n1, "n2")


class Unbound(KubeCluster):
    """Agents find the underlay by themselves, that of the default route."""

    def build(self) -> None:
        super().build()
        for node, other, device in ((self.n1, "n2", "u1"), (self.n2, "n1", "u2")):
            for facts in (FACTS[family] for family in self.families):
                way = ("via", facts.underlay(other), "dev", device)
                node.ip(f"-{facts.family}", "route", "add", "default", *way)

    def source_flags(self, name: str) -> list[str]:
        return super().source_flags(name)[:-2]


def test_an_own_address_that_is_not_there_holds_up_no_peer(
    tmp_path: Path, families: tuple[int, ...]
) -> None:
    """It is an operator's slip, or comes a little later: the last one stays until it is there."""
    facts, wanted = FACTS[4], FACTS[4].underlay("n77")
    with running(Unbound(tmp_path, families=families)) as kube:
        _, first, second = meet(kube)
        kube.api.do(lambda server: server.change("n1", node_public_ip=wanted))
        assert wanted in first.says("own-lease-refused")
        kube.put_third(9)
        wait_for("the third node", lambda: kube.knows_all(first, 9), RETURN_SECONDS)
        assert wanted in first.status()["trouble"]
        assert first.tunnel(4)["public-ip"] == facts.underlay("n1")
        assert kube.reaches(kube.n1, "n2")
        facts.give(kube.n1, wanted, "u1")
        wait_for("the own lease", lambda: first.tunnel(4)["public-ip"] == wanted)
        first.says("leases-good-again")
        assert first.status()["trouble"] is None
        wait_for("its peer", lambda: wanted in str(second.status()["leases"]), RETURN_SECONDS)
        wait_for("packets", lambda: kube.reaches(kube.n1, "n2"))


def test_a_start_without_the_api_server_forwards_by_what_was_saved(
    nodes: Nodes,
) -> None:
    kube, first, _ = nodes
    saved = first.run_dir / "leases.saved"
    wait_for("the saved state", lambda: saved.exists() and b"n2" in saved.read_bytes())
    macs = [first.tunnel(family)["vtep-mac"] for family in kube.families]
    kube.api.wait(kube.server.stop())
    first.stop(signal.SIGKILL)
    again = kube.start("n1")
    assert 'leases-of="saved state"' in again.says("forwarding", times=2)
    assert kube.reaches(kube.n1, "n2")
    status = again.status()
    assert status["source"]["leases-of"] == "saved state"
    assert status["source"]["standing"] == "away"
    assert [again.tunnel(family)["vtep-mac"] for family in kube.families] == macs
    assert len(status["leases"]) == 4
    kube.put_third(9)
    kube.api.wait(kube.server.start())
    wait_for("the truth", lambda: kube.knows_all(again, 9), RETURN_SECONDS)
    assert again.status()["source"]["leases-of"] == "source"


def test_the_last_leases_are_saved_at_a_clean_end(
    nodes: Nodes,
) -> None:
    kube, first, _ = nodes
    wait_for("the saved state", (first.run_dir / "leases.saved").exists)
    seen = len(first.lines("leases"))
    kube.put_third(9)
    first.says("leases", times=seen + 1)
    assert first.stop()[0] == 0
    kube.api.wait(kube.server.stop())
    again = kube.started("n1")
    assert kube.knows_all(again, 9)


@pytest.mark.parametrize("content", [b"", b"not ours", b"fwd leases 2\n\0\0\0\0rest"])
def test_a_damaged_saved_state_is_set_aside(kube: KubeCluster, content: bytes) -> None:
    run_dir = kube.directory / "n1"
    run_dir.mkdir()
    (run_dir / "leases.saved").write_bytes(content)
    agent = kube.started("n1")
    assert "leases.saved.set-aside" in agent.says("saved-state-set-aside")
    assert (run_dir / "leases.saved.set-aside").read_bytes() == content


def test_a_start_that_waits_beside_an_agent_leaves_the_state_that_it_saves(nodes: Nodes) -> None:
    """Of no use to the one that waits, and all that the other one has should it crash."""
    kube, first, _ = nodes
    saved = first.run_dir / "leases.saved"
    wait_for("the saved state", lambda: saved.exists() and b"n2" in saved.read_bytes())
    kube.api.wait(kube.server.stop())
    kube.configure(VNI=7)
    waiting = kube.start("n1")
    assert "it is of VNI 1, and this is 7" in waiting.says("saved-state-unused")
    for agent in (waiting, first):
        agent.stop(signal.SIGKILL)
    kube.configure()
    again = kube.start("n1")
    assert 'leases-of="saved state"' in again.says("forwarding", times=2)
    assert again.lines("saved-state-set-aside") == []


@pytest.mark.parametrize("family", [4, 6], ids=["IPv4", "IPv6"])
def test_a_subnet_that_changes_is_registered_anew(nodes: Nodes, family: int) -> None:
    """In one family; packets of the other flow on."""
    kube, first, second = nodes
    flow = kube.flow("n2", 10 - family)
    mac = first.tunnel(family)["vtep-mac"]
    new = {one: FACTS[one].subnet("n77" if one == family else "n1") for one in kube.families}
    spec = {"podCIDR": new[4], "podCIDRs": list(new.values())}
    kube.put(1, spec=spec, annotations=kube.published("n1"))
    assert f"subnet={new[family]}" in first.says("own-lease-changed")
    assert f"device={FACTS[family].device}" in first.says("tunnel-restored")
    wait_for("n2 knows", lambda: new[family] in str(second.status()["leases"]))
    assert kube.n2.pings(FACTS[family].tunnel_ip("n77"))
    gateway = GATEWAY[family].replace("2.1/", "77.1/").replace(":2::", ":77::")
    written = first.run_dir / "subnet.env"
    wait_for("subnet.env", lambda: gateway in written.read_text())
    assert first.tunnel(family)["vtep-mac"] == mac
    assert flow.end().longest < STALL_SECONDS


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
