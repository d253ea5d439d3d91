# SPDX-License-Identifier: Apache-2.0
"""One agent over IPv6 alone and over both families."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.netns.agent_support import FACTS, Agent, Cluster, key, wait_for

SUBNET_ENV = {
    (6,): "FLANNEL_IPV6_NETWORK=fd00:244::/48\nFLANNEL_IPV6_SUBNET=fd00:244:0:1::1/64\n",
    (4, 6): "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.1.1/24\n"
    "FLANNEL_IPV6_NETWORK=fd00:244::/48\nFLANNEL_IPV6_SUBNET=fd00:244:0:1::1/64\n",
}

Make = Callable[..., Cluster]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Makes a cluster of these families."""
    made = []

    def cluster(*families: int) -> Cluster:
        made.append(Cluster(tmp_path, families=families))
        made[-1].build()
        return made[-1]

    try:
        yield cluster
    finally:
        for one in made:
            one.remove()


def reaches(agent: Agent, name: str, family: int) -> bool:
    return agent.namespace.pings(FACTS[family].tunnel_ip(name))


@pytest.mark.parametrize("families", [(6,), (4, 6)])
def test_packets_flow_over_every_family_that_is_on(make: Make, families: tuple[int, ...]) -> None:
    cluster = make(*families)
    first, second = cluster.started("n1"), cluster.started("n2")
    for family in families:
        assert reaches(first, "n2", family), f"IPv{family}"
        assert reaches(second, "n1", family), f"IPv{family}"
        (link,) = first.namespace.show("link", "show", FACTS[family].device)
        assert link["mtu"] == FACTS[family].mtu
        assert first.tunnel(family)["counters"]["out_packets"] >= 2
        path = f"/proc/sys/net/ipv6/conf/{FACTS[family].device}/accept_ra"
        accepts = first.namespace.run("cat", path).stdout
        assert accepts.strip() == "0", "no peer is a router"
    status = first.status()
    assert [one["family"] for one in status["tunnels"]] == list(families)
    assert len(status["leases"]) == len(families)
    assert (first.run_dir / "subnet.env").read_text() == (
        SUBNET_ENV[families] + "FLANNEL_MTU=1450\nFLANNEL_IPMASQ=false\n"
    )


def test_a_peer_of_one_family_is_reached_over_that_one(make: Make) -> None:
    cluster = make(4, 6)
    whole = cluster.directory / "whole.json"
    whole.write_text(cluster.leases.read_text())
    cluster.started("n2", "--static-leases", str(whole))
    del cluster.entries[key("n2", 6)]
    cluster.write()
    first = cluster.started("n1")
    assert reaches(first, "n2", 4)
    assert not reaches(first, "n2", 6)


def test_a_change_in_one_family_is_seen(make: Make) -> None:
    """flannel wants both to change (spec 3.5)."""
    cluster = make(4, 6)
    first, second = cluster.started("n1"), cluster.started("n2")
    assert reaches(first, "n2", 6)
    mac = "02:00:00:00:00:77"
    cluster.entries[key("n2", 6)]["backend-data"]["VtepMAC"] = mac
    cluster.write()
    second.says("own-lease-changed")
    wait_for("the new MAC", lambda: mac in str(first.status()["leases"]))
    wait_for("a reply over IPv6", lambda: reaches(first, "n2", 6))
    assert second.tunnel(6)["vtep-mac"] == mac
    assert second.tunnel(4)["vtep-mac"] == "02:00:00:00:00:02"
    assert len(second.lines("own-lease-changed")) == 1, "IPv4 has not moved"


def test_a_node_without_a_subnet_of_a_family_that_is_on_ends(make: Make) -> None:
    cluster = make(4, 6)
    del cluster.entries[key("n1", 6)]
    cluster.write()
    agent = cluster.start("n1")
    assert agent.ended() == 1
    assert "node n1 has no IPv6 subnet, and net-conf.json enables IPv6" in agent.log


def test_a_node_that_lets_no_device_have_ipv6_is_told_what_to_set(make: Make) -> None:
    """As hardened ones do, with exceptions for the interfaces that they have."""
    cluster = make(6)
    assert cluster.n1.run("sysctl", "-w", "net.ipv6.conf.default.disable_ipv6=1").returncode == 0
    agent = cluster.start("n1")
    assert agent.ended() == 1
    assert agent.log.splitlines()[-1] == (
        "fwd run: cannot set up flannel-v6.1: net/ipv6/conf/flannel-v6.1/disable_ipv6 is 1: "
        "set it to 0, and net.ipv6.conf.default.disable_ipv6, which new devices have"
    )
    for name in ("default", FACTS[6].device):
        done = cluster.n1.run("sysctl", "-w", f"net/ipv6/conf/{name}/disable_ipv6=0")
        assert done.returncode == 0
    cluster.started("n1")


def test_an_underlay_with_link_local_addresses_only(make: Make) -> None:
    """They mean nothing without their link, which bind and send have to name."""
    cluster = make(6)
    for name, node in (("n1", cluster.n1), ("n2", cluster.n2)):
        device, address = f"u{name[1:]}", f"fe80::{name[1:]}"
        node.ip("-6", "address", "flush", "dev", device)
        FACTS[6].give(node, address, device)
        cluster.entries[key(name, 6)]["public-ip"] = address
    cluster.write()
    first = cluster.started("n1", "--iface", "u1")
    cluster.started("n2", "--iface", "u2")
    assert reaches(first, "n2", 6)


def test_a_bridge_of_the_subnet_takes_no_connection_from_the_node(make: Make) -> None:
    """Its kernel makes the tunnel's address an anycast one, to which nobody can connect."""
    cluster = make(6)
    first, second = cluster.start("n1"), cluster.start("n2")
    for agent in (first, second):
        agent.says("host-ready")
    there, subnet = FACTS[6].tunnel_ip("n2"), FACTS[6].subnet("n2")
    cluster.n2.run("sysctl", "-w", "net.ipv6.conf.all.forwarding=1")
    cluster.n2.ip("link", "del", FACTS[6].device)  # the bridge comes first
    cluster.n2.ip("link", "add", "cni0", "type", "bridge")
    cluster.n2.ip("address", "add", subnet.replace("::/", "::1/"), "dev", "cni0", "nodad")
    cluster.n2.ip("link", "set", "cni0", "up")
    wait_for("packets", lambda: reaches(first, "n2", 6))

    def is_unicast() -> bool:
        (route,) = cluster.n2.show("-6", "route", "get", there)
        return bool(route.get("type") == "local")

    wait_for("its own address", is_unicast)
