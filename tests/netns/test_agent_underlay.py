# SPDX-License-Identifier: Apache-2.0
"""The underlay changes under a running agent: addresses and MTUs of real devices, in kube mode.

Three agents: n1 and n2 on one link, n3 on a link of its own to n1.  TCP runs through the tunnel to
both.  n2 talks to the API server over the very link whose address changes.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.agent_support import Agent, Namespace, wait_for
from tests.netns.kube_cluster import KubeCluster, running
from tests.netns.names import own

pytestmark = [pytest.mark.netns, pytest.mark.root]

LEARN_SECONDS = 1.0
STALL_SECONDS = 0.5
PUBLIC_IP = "flannel.alpha.coreos.com/public-ip"


class Triangle(KubeCluster):
    """n3 is a node as well, behind n1."""

    n3: Namespace

    def build(self) -> None:
        super().build()
        self.n3 = self._keep(Namespace(own("ag-n3")))
        peer = ("peer", "name", "u3", "netns", self.n3.name)
        self.n1.ip("link", "add", "x1", "type", "veth", *peer)
        for node, device, number in ((self.n1, "x1", 1), (self.n3, "u3", 3)):
            node.ip("address", "add", f"192.168.51.{number}/24", "dev", device)
            node.ip("link", "set", device, "up")
        self.n3.ip("route", "add", "192.168.50.0/24", "via", "192.168.51.1")
        self.put(3, annotations={})
        self.agents = {name: self.started(name) for name in ("n1", "n2", "n3")}
        for name in ("n2", "n3"):
            wait_for("n1 reaches it", lambda n=name: self.n1.pings(f"10.244.{n[1:]}.0"))  # type: ignore[misc]

    agents: dict[str, Agent]

    def mtu(self, name: str) -> int:
        found: int = getattr(self, name).show("link", "show", "flannel.1")[0]["mtu"]
        return found

    def sockets(self, name: str) -> list[str]:
        """Its UDP sockets, each with a number that no other one ever has."""
        return sorted(getattr(self, name).run("ss", "-Huanep").stdout.splitlines())

    def subnet_env(self, name: str) -> str:
        return (self.agents[name].run_dir / "subnet.env").read_text()


@pytest.fixture
def kube(tmp_path: Path) -> Iterator[Triangle]:
    with running(Triangle(tmp_path)) as made:
        yield made


def test_flows_survive_a_new_address_and_a_new_mtu(kube: Triangle) -> None:
    moved, other = kube.flow("n2"), kube.flow("n3")
    kube.n2.ip("address", "del", "192.168.50.2/24", "dev", "u2")
    kube.n2.ip("address", "add", "192.168.50.22/24", "dev", "u2")
    wait_for("published", lambda: kube.published("n2")[PUBLIC_IP] == "192.168.50.22", LEARN_SECONDS)
    wait_for(
        "a peer knows",
        lambda: "192.168.50.22" in str(kube.agents["n1"].status()["leases"]),
        LEARN_SECONDS,
    )
    assert "address=192.168.50.22" in kube.agents["n2"].says("underlay-changed")
    for name, device in (("n1", "u1"), ("n2", "u2")):
        getattr(kube, name).ip("link", "set", device, "mtu", "1400")
    wait_for("MTU", lambda: kube.mtu("n1") == kube.mtu("n2") == 1350)
    wait_for("subnet.env", lambda: "FLANNEL_MTU=1350" in kube.subnet_env("n2"))
    assert kube.n2.pings("10.244.1.0")
    longest = other.end().longest
    assert longest < STALL_SECONDS, f"the other link stood still for {longest:.1f} s"
    longest = moved.end().longest  # fails unless one more answer comes
    assert longest < 3, "two retransmissions are the price of a new address"
    assert kube.agents["n2"].tunnel()["mtu"] == 1350
    assert not kube.agents["n2"].lines("node-refused")


def test_a_new_mtu_disturbs_nothing(kube: Triangle) -> None:
    flow = kube.flow("n2")
    before = kube.sockets("n1")
    for mtu in (1400, 9000, 1500):
        kube.n1.ip("link", "set", "u1", "mtu", str(mtu))
        wait_for("MTU", lambda m=mtu: kube.mtu("n1") == m - 50)  # type: ignore[misc]
        wait_for("subnet.env", lambda m=mtu: f"MTU={m - 50}" in kube.subnet_env("n1"))  # type: ignore[misc]
    longest = flow.end().longest
    assert longest < STALL_SECONDS
    assert kube.sockets("n1") == before
    assert not kube.agents["n1"].lines("tunnel-restored")
    assert len(kube.agents["n1"].lines("underlay-changed")) == 3


def test_an_mtu_too_small_is_said_and_the_old_one_kept(kube: Triangle) -> None:
    kube.n1.ip("link", "set", "u1", "mtu", "600")
    assert "raise MTU in net-conf.json or of the interface" in kube.agents["n1"].says(
        "underlay-lost"
    )
    assert kube.mtu("n1") == 1450
    kube.n1.ip("link", "set", "u1", "mtu", "1300")
    wait_for("MTU", lambda: kube.mtu("n1") == 1250)
    assert len(kube.agents["n1"].lines("underlay-lost")) == 1


def test_an_address_that_vanishes_is_waited_for(kube: Triangle) -> None:
    agent = kube.agents["n2"]
    kube.n2.ip("address", "del", "192.168.50.2/24", "dev", "u2")
    line = agent.says("underlay-lost")
    assert agent.status()["trouble"] == "failed to find IPv4 address for interface u2"
    assert 'error="failed to find IPv4 address for interface u2" kept=192.168.50.2' in line
    kube.n2.ip("address", "add", "192.168.50.2/24", "dev", "u2")
    wait_for("packets", lambda: kube.n2.pings("10.244.1.0"))
    assert len(agent.lines("underlay-lost")) == 1
    assert not agent.lines("underlay-changed")
    wait_for("no trouble", lambda: agent.status()["trouble"] is None)


def test_a_second_address_changes_nothing_until_the_first_one_goes(kube: Triangle) -> None:
    agent = kube.agents["n2"]
    kube.n2.run("sysctl", "-w", "net.ipv4.conf.u2.promote_secondaries=1")
    kube.n2.ip("address", "add", "192.168.50.22/24", "dev", "u2")
    kube.n2.ip("link", "set", "u2", "mtu", "1490")  # a change to wait for
    assert "address=192.168.50.2 " in agent.says("underlay-changed")
    kube.n2.ip("address", "del", "192.168.50.2/24", "dev", "u2")
    assert "address=192.168.50.22" in agent.says("underlay-changed", times=2)
    wait_for("packets", lambda: kube.n1.pings("10.244.2.0"))


def test_an_address_that_moves_to_a_bridge_is_followed(kube: Triangle) -> None:
    agent = kube.agents["n2"]
    kube.n2.ip("link", "add", "br0", "type", "bridge")
    kube.n2.ip("link", "set", "u2", "master", "br0")
    kube.n2.ip("link", "set", "br0", "mtu", "1480", "up")
    kube.n2.ip("address", "del", "192.168.50.2/24", "dev", "u2")
    agent.says("underlay-lost")
    kube.n2.ip("address", "add", "192.168.50.2/24", "dev", "br0")
    assert "interface=br0 address=192.168.50.2 mtu=1480" in agent.says("underlay-changed")
    wait_for("packets", lambda: kube.n1.pings("10.244.2.0"))
    assert kube.mtu("n2") == 1430


def test_an_interface_that_is_made_anew_is_found_again(kube: Triangle) -> None:
    kube.n2.ip("link", "del", "u2")
    kube.agents["n2"].says("underlay-lost")
    peer = ("peer", "name", "u2", "netns", kube.n2.name)
    kube.n1.ip("link", "add", "u1", "type", "veth", *peer)
    for number, node in enumerate((kube.n1, kube.n2), 1):
        node.ip("address", "add", f"192.168.50.{number}{number}/24", "dev", f"u{number}")
        node.ip("address", "add", f"192.168.50.{number}/24", "dev", f"u{number}")
        node.ip("link", "set", f"u{number}", "up")
    for name in ("n1", "n2"):
        kube.agents[name].says("underlay-changed")
    wait_for("packets", lambda: kube.n2.pings("10.244.1.0"))
