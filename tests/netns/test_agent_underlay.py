# SPDX-License-Identifier: Apache-2.0
"""The underlay changes under a running agent: addresses and MTUs of real devices, in kube mode.

Three agents: n1 and n2 on one link, n3 on a link of its own to n1.  TCP runs through the tunnel to
both.  n2 talks to the API server over the very link whose address changes.  Over IPv4, over IPv6,
and with both on one interface.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.agent_support import EACH_FAMILY, FACTS, Agent, Cluster, Namespace, wait_for
from tests.netns.kube_cluster import STALL_SECONDS, KubeCluster, running
from tests.netns.names import own

pytestmark = [pytest.mark.netns, pytest.mark.root]

LEARN_SECONDS = 1.0
PUBLIC_IP = {
    4: "flannel.alpha.coreos.com/public-ip",
    6: "flannel.alpha.coreos.com/public-ipv6",
}
LINK_3 = {4: ("192.168.51.{}", "192.168.50.0/24"), 6: ("fd03::{}", "fd02::/64")}
"""The link of n1 and n3, and what n3 has behind it."""

MTUS = {4: (600, 1300), 6: (1300, 1400)}
"""Too small for a tunnel, and large enough; below 1280 a link has no IPv6 at all."""


class Triangle(KubeCluster):
    """n3 is a node as well, behind n1."""

    n3: Namespace

    def build(self) -> None:
        super().build()
        self.n3 = self._keep(Namespace(own("ag-n3")))
        peer = ("peer", "name", "u3", "netns", self.n3.name)
        self.n1.ip("link", "add", "x1", "type", "veth", *peer)
        form, behind = LINK_3[self.facts.family]
        for node, device, number in ((self.n1, "x1", 1), (self.n3, "u3", 3)):
            self.facts.give(node, form.format(number), device)
            node.ip("link", "set", device, "up")
        self.n3.ip("route", "add", behind, "via", form.format(1))
        self.put(3, annotations={})
        self.agents = {name: self.started(name) for name in ("n1", "n2", "n3")}
        for name in ("n2", "n3"):
            wait_for("n1 reaches it", lambda n=name: self.reaches(self.n1, n))  # type: ignore[misc]

    agents: dict[str, Agent]

    def mtu(self, name: str) -> int:
        """Of a node's tunnel, less what an IPv6 one has less than an IPv4 one."""
        found: int = getattr(self, name).show("link", "show", self.facts.device)[0]["mtu"]
        return found + 1450 - self.facts.mtu

    def move(self, name: str, *, gone: str, come: str) -> None:
        """Another underlay address; either may be empty."""
        node, device = getattr(self, name), f"u{name[1:]}"
        if gone:
            node.ip("address", "del", f"{gone}/{self.facts.link}", "dev", device)
        if come:
            self.facts.give(node, come, device)

    def sockets(self, name: str) -> list[str]:
        """Its UDP sockets, each with a number that no other one ever has, without their queues."""
        lines = getattr(self, name).run("ss", "-Huanep").stdout.splitlines()
        return sorted(" ".join(line.split()[3:]) for line in lines)

    def is_looked_at_again(self, name: str) -> None:
        """Waits for a repair of the tunnel's device, before which the underlay is looked at."""
        agent = self.agents[name]
        repaired = len(agent.lines("device-repaired"))
        getattr(self, name).ip("link", "set", self.facts.device, "mtu", "1290")
        agent.says("device-repaired", times=repaired + 1)

    def subnet_env(self, name: str) -> str:
        return (self.agents[name].run_dir / "subnet.env").read_text()


@pytest.fixture
def kube(tmp_path: Path, family: int) -> Iterator[Triangle]:
    with running(Triangle(tmp_path, families=(family,))) as made:
        yield made


@EACH_FAMILY
def test_flows_survive_a_new_address_and_a_new_mtu(kube: Triangle) -> None:
    moved, other = kube.flow("n2"), kube.flow("n3")
    public_ip, new = PUBLIC_IP[kube.facts.family], kube.facts.underlay("n22")
    kube.move("n2", gone=kube.facts.underlay("n2"), come=new)
    wait_for("published", lambda: kube.published("n2")[public_ip] == new, LEARN_SECONDS)
    wait_for(
        "a peer knows",
        lambda: new in str(kube.agents["n1"].status()["leases"]),
        LEARN_SECONDS,
    )
    assert f"address={new}" in kube.agents["n2"].says("underlay-changed")
    for name, device in (("n1", "u1"), ("n2", "u2")):
        getattr(kube, name).ip("link", "set", device, "mtu", "1400")
    wait_for("MTU", lambda: kube.mtu("n1") == kube.mtu("n2") == 1350)
    wait_for("subnet.env", lambda: "FLANNEL_MTU=1350" in kube.subnet_env("n2"))
    assert kube.reaches(kube.n2, "n1")
    longest = other.end().longest
    assert longest < STALL_SECONDS, f"the other link stood still for {longest:.1f} s"
    longest = moved.end().longest  # fails unless one more answer comes
    assert longest < 3, "two retransmissions are the price of a new address"
    assert kube.agents["n2"].tunnel(kube.facts.family)["mtu"] == kube.facts.mtu - 100
    assert not kube.agents["n2"].lines("node-refused")


@EACH_FAMILY
def test_a_new_mtu_disturbs_nothing(kube: Triangle) -> None:
    """Never less than n2 has: what n2 sends by then would be lost by the link itself."""
    flow = kube.flow("n2")
    before = kube.sockets("n1")
    for mtu in (1600, 9000, 1500):
        kube.n1.ip("link", "set", "u1", "mtu", str(mtu))
        wait_for("MTU", lambda m=mtu: kube.mtu("n1") == m - 50)  # type: ignore[misc]
        wait_for("subnet.env", lambda m=mtu: f"MTU={m - 50}" in kube.subnet_env("n1"))  # type: ignore[misc]
    longest = flow.end().longest
    assert longest < STALL_SECONDS
    assert kube.sockets("n1") == before
    assert not kube.agents["n1"].lines("tunnel-restored")
    assert len(kube.agents["n1"].lines("underlay-changed")) == 3


@EACH_FAMILY
def test_an_mtu_too_small_is_said_and_the_old_one_kept(kube: Triangle) -> None:
    small, large = MTUS[kube.facts.family]
    kube.n1.ip("link", "set", "u1", "mtu", str(small))
    assert "raise MTU in net-conf.json or of the interface" in kube.agents["n1"].says(
        "underlay-lost"
    )
    kube.is_looked_at_again("n1")
    assert kube.mtu("n1") == 1450
    kube.n1.ip("link", "set", "u1", "mtu", str(large))
    wait_for("MTU", lambda: kube.mtu("n1") == large - 50)
    assert len(kube.agents["n1"].lines("underlay-lost")) == 1


@EACH_FAMILY
def test_an_address_that_vanishes_is_waited_for(kube: Triangle) -> None:
    agent, there = kube.agents["n2"], kube.facts.underlay("n2")
    shown = ("address", "show", "dev", "u2", "tentative")  # an fe80:: counts once it is settled
    wait_for("settled addresses", lambda: not kube.n2.ip(*shown))
    kube.move("n2", gone=there, come="")
    line = agent.says("underlay-lost")
    trouble = {
        4: "failed to find IPv4 address for interface u2",
        6: f"{there} is gone from u2, which has fe80::",
    }[kube.facts.family]
    assert agent.status()["trouble"].startswith(trouble)
    assert f'error="{trouble}' in line
    assert f"kept={there}" in line
    kube.is_looked_at_again("n2")
    kube.move("n2", gone="", come=there)
    wait_for("packets", lambda: kube.reaches(kube.n2, "n1"))
    assert len(agent.lines("underlay-lost")) == 1
    assert not agent.lines("underlay-changed")
    wait_for("no trouble", lambda: agent.status()["trouble"] is None)


@EACH_FAMILY
def test_a_second_address_changes_nothing_until_the_first_one_goes(kube: Triangle) -> None:
    agent, facts = kube.agents["n2"], kube.facts
    first, second = facts.underlay("n2"), facts.underlay("n22")
    kube.n2.run("sysctl", "-w", "net.ipv4.conf.u2.promote_secondaries=1")
    kube.move("n2", gone="", come=second)
    kube.n2.ip("link", "set", "u2", "mtu", "1490")  # a change to wait for
    assert f"address={first} " in agent.says("underlay-changed")
    kube.move("n2", gone=first, come="")
    assert f"address={second} " in agent.says("underlay-changed", times=2)
    wait_for("packets", lambda: kube.reaches(kube.n1, "n2"))


@EACH_FAMILY
def test_begun_by_saved_leases_a_new_address_is_followed_though_the_own_node_is_gone(
    kube: Triangle,
) -> None:
    """What was saved says where the node was, and not that somebody wants it there."""
    there, new = kube.facts.underlay("n2"), kube.facts.underlay("n22")
    kube.api.do(lambda server: server.nodes.delete("n2"))
    kube.agents["n2"].says("waiting")
    assert kube.agents["n2"].stop()[0] == 0
    agent = kube.agents["n2"] = kube.started("n2")
    assert 'leases-of="saved state"' in agent.says("forwarding")
    wait_for("the peers", lambda: agent.status()["source"]["leases-of"] == "source")
    kube.move("n2", gone=there, come=new)
    assert f"public-ip={new} " in agent.says("underlay-changed")
    kube.put(2, annotations={})
    public_ip = PUBLIC_IP[kube.facts.family]
    wait_for("published", lambda: kube.published("n2").get(public_ip) == new)
    wait_for("packets", lambda: kube.reaches(kube.n2, "n1"))


@EACH_FAMILY
def test_an_address_that_moves_to_a_bridge_is_followed(kube: Triangle) -> None:
    agent, there = kube.agents["n2"], kube.facts.underlay("n2")
    kube.n2.ip("link", "add", "br0", "type", "bridge")
    kube.n2.ip("link", "set", "u2", "master", "br0")
    kube.n2.ip("link", "set", "br0", "mtu", "1480", "up")
    kube.move("n2", gone=there, come="")
    agent.says("underlay-lost")
    kube.facts.give(kube.n2, there, "br0")
    assert f"interface=br0 address={there} underlay-mtu=1480" in agent.says("underlay-changed")
    wait_for("packets", lambda: kube.reaches(kube.n1, "n2"))
    assert kube.mtu("n2") == 1430


@pytest.mark.parametrize("moved", [4, 6], ids=["IPv4", "IPv6"])
def test_both_families_on_one_interface(tmp_path: Path, moved: int) -> None:
    """One moves, the other stays where it is; a new MTU is for both."""
    cluster = Cluster(tmp_path, families=(4, 6))
    try:
        cluster.build()
        facts, other = FACTS[moved], FACTS[10 - moved]
        for one in cluster.entries.values():
            if one["node"] == "n2" and one["subnet"] == facts.subnet("n2"):
                one["public-ip"] = facts.underlay("n22")
        cluster.write()
        agents = {name: cluster.started(name, "--iface", f"u{name[1:]}") for name in ("n1", "n2")}
        assert cluster.n1.pings(other.tunnel_ip("n2"))
        before = agents["n2"].tunnel(other.family)["counters"]["in_packets"]
        cluster.n2.ip("address", "del", f"{facts.underlay('n2')}/{facts.link}", "dev", "u2")
        facts.give(cluster.n2, facts.underlay("n22"), "u2")
        assert f"address={facts.underlay('n22')}" in agents["n2"].says("underlay-changed")
        wait_for("packets", lambda: cluster.n1.pings(facts.tunnel_ip("n2")))
        assert cluster.n1.pings(other.tunnel_ip("n2"))
        assert agents["n2"].tunnel(other.family)["counters"]["in_packets"] > before
        assert len(agents["n2"].lines("underlay-changed")) == 1
        cluster.n2.ip("link", "set", "u2", "mtu", "1400")
        agents["n2"].says("underlay-changed", times=3)
        assert [one["mtu"] for one in agents["n2"].status()["tunnels"]] == [1350, 1330]
    finally:
        cluster.remove()


@EACH_FAMILY
def test_an_interface_that_is_made_anew_is_found_again(kube: Triangle) -> None:
    kube.n2.ip("link", "del", "u2")
    kube.agents["n2"].says("underlay-lost")
    peer = ("peer", "name", "u2", "netns", kube.n2.name)
    kube.n1.ip("link", "add", "u1", "type", "veth", *peer)
    for number, node in enumerate((kube.n1, kube.n2), 1):
        for name in (f"n{number}{number}", f"n{number}"):
            kube.facts.give(node, kube.facts.underlay(name), f"u{number}")
        node.ip("link", "set", f"u{number}", "up")
    for name in ("n1", "n2"):
        kube.agents[name].says("underlay-changed")
    wait_for("packets", lambda: kube.reaches(kube.n2, "n1"))
