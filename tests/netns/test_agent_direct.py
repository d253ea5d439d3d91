# SPDX-License-Identifier: Apache-2.0
"""DirectRouting: peers on the same link without the tunnel, and back, as the underlay changes.

Beside the link between the nodes there is a second one (10.9.0.0/24, fd0a::/64): a route over it,
by a gateway, takes a peer off the first link while packets still reach it.
"""

from ipaddress import ip_network
from typing import Final

import pytest
from msgspec import Struct

from fwd.node.routetable import PROTOCOL
from tests.netns.agent_support import EACH_FAMILY, Agent, Cluster, entry, wait_for

pytestmark = [pytest.mark.netns, pytest.mark.root]

LIMIT: Final = 5.0
"""Seconds in which a route follows the underlay."""
PEERS: Final = 5000


@pytest.fixture
def direct(cluster: Cluster) -> Cluster:
    """Two links, DirectRouting on."""
    n1, n2 = cluster.n1, cluster.n2
    n1.ip("link", "add", "v1", "type", "veth", "peer", "name", "v2", "netns", n2.name)
    for number, node in enumerate((n1, n2), 1):
        cluster.facts.give(node, BESIDE[cluster.facts.family].format(number), f"v{number}")
        node.ip("link", "set", f"v{number}", "up")
    cluster.configure(DirectRouting=True)
    return cluster


def routes(cluster: Cluster) -> dict[str, str]:
    """n1's direct routes: subnet to gateway."""
    found = cluster.facts.routes(cluster.n1, "proto", str(PROTOCOL))
    return {route["dst"]: route["gateway"] for route in found}


def tunnelled(cluster: Cluster, agent: Agent) -> int:
    count: int = agent.tunnel(cluster.facts.family)["counters"]["out_packets"]
    return count


def near(cluster: Cluster) -> dict[str, str]:
    """The route to n2."""
    return {cluster.facts.subnet("n2"): cluster.facts.underlay("n2")}


def detour(cluster: Cluster) -> tuple[str, ...]:
    """A route to n2's underlay address that leaves its link."""
    there = f"{cluster.facts.underlay('n2')}/{cluster.facts.host}"
    return (there, "via", BESIDE[cluster.facts.family].format(2))


BESIDE: Final = {4: "10.9.0.{}", 6: "fd0a::{}"}
"""Addresses of the second link."""


@EACH_FAMILY
def test_a_peer_moves_between_link_and_tunnel(direct: Cluster) -> None:
    direct.started("n2")
    agent = direct.started("n1")
    assert routes(direct) == near(direct)
    before = tunnelled(direct, agent)
    assert direct.n1.pings(direct.facts.tunnel_ip("n2"))
    assert tunnelled(direct, agent) == before
    assert agent.tunnel(direct.facts.family)["direct-routes"] == 1
    for _ in range(2):
        direct.n1.ip("route", "add", *detour(direct))
        wait_for("into the tunnel", lambda: not routes(direct), LIMIT)
        before = tunnelled(direct, agent)
        assert direct.n1.pings(direct.facts.tunnel_ip("n2"))
        assert tunnelled(direct, agent) > before
        direct.n1.ip("route", "del", *detour(direct))
        wait_for("onto the link", lambda: routes(direct) == near(direct), LIMIT)
        assert direct.n1.pings(direct.facts.tunnel_ip("n2"))


@EACH_FAMILY
def test_a_policy_rule_counts_too(direct: Cluster) -> None:
    direct.started("n2")
    direct.started("n1")
    there, family = direct.facts.underlay("n2"), f"-{direct.facts.family}"
    direct.n1.ip("route", "add", *detour(direct), "table", "7")
    direct.n1.ip(family, "rule", "add", "to", there, "table", "7")
    wait_for("into the tunnel", lambda: not routes(direct), LIMIT)
    direct.n1.ip(family, "rule", "del", "to", there, "table", "7")
    wait_for("onto the link", lambda: routes(direct) == near(direct), LIMIT)


@EACH_FAMILY
def test_routes_follow_the_leases(direct: Cluster) -> None:
    direct.started("n2")
    agent = direct.started("n1")
    facts = direct.facts
    third = entry("n3", facts.family)
    direct.entries["n3"] = third
    direct.write()
    far = {facts.subnet("n3"): facts.underlay("n3")}
    wait_for("a new peer", lambda: routes(direct) == near(direct) | far, LIMIT)
    third["public-ip"] = BESIDE[facts.family].format(3)
    direct.write()
    wait_for(
        "its new address",
        lambda: routes(direct) == near(direct) | {third["subnet"]: third["public-ip"]},
    )
    del direct.entries["n3"]
    direct.write()
    wait_for("its end", lambda: routes(direct) == near(direct), LIMIT)
    assert not agent.lines("direct-routes-trouble")


@EACH_FAMILY
def test_a_route_that_others_remove_comes_back(direct: Cluster) -> None:
    direct.started("n2")
    direct.started("n1")
    direct.n1.ip("route", "del", direct.facts.subnet("n2"))
    wait_for("repair", lambda: routes(direct) == near(direct), LIMIT)


@EACH_FAMILY
def test_another_route_in_its_place_is_not_overwritten(direct: Cluster) -> None:
    subnet = direct.facts.subnet("n2")
    own = (subnet, "via", direct.facts.underlay("n9"), "proto", "static")
    direct.n1.ip("route", "add", *own)
    agent = direct.started("n1")
    assert subnet in agent.says("direct-routes-trouble")
    assert not routes(direct)
    direct.n1.ip("route", "del", *own)
    wait_for("its turn", lambda: routes(direct) == near(direct), LIMIT)


@EACH_FAMILY
@pytest.mark.parametrize("on", [True, False])
def test_flannels_own_direct_routes_are_taken_over(direct: Cluster, *, on: bool) -> None:
    direct.configure(DirectRouting=on)
    facts = direct.facts
    direct.n1.ip("route", "add", facts.subnet("n2"), "via", facts.underlay("n2"))
    direct.started("n2")
    agent = direct.started("n1")
    assert routes(direct) == (near(direct) if on else {})
    assert len(facts.routes(direct.n1, facts.subnet("n2"))) == on
    assert agent.lines("flannels-routes-removed")
    assert direct.n1.pings(direct.facts.tunnel_ip("n2"))


@EACH_FAMILY
@pytest.mark.parametrize("on", [True, False])
def test_flannels_route_to_a_peer_that_comes_later_is_taken_over(
    direct: Cluster, *, on: bool
) -> None:
    """It is nobody's at the start, and would keep the peer out of the tunnel."""
    direct.configure(DirectRouting=on)
    facts = direct.facts
    far = facts.subnet("n3")
    direct.n1.ip("route", "add", far, "via", facts.underlay("n9"))
    agent = direct.started("n1")
    assert facts.routes(direct.n1, far)
    direct.entries["n3"] = entry("n3", facts.family)
    direct.write()
    assert "routes=1 " in agent.says("flannels-routes-removed")
    wait_for("its own", lambda: len(facts.routes(direct.n1, far)) == on, LIMIT)
    direct.entries["n3"]["backend-data"]["VtepMAC"] = facts.mac("n5")
    direct.n1.ip("route", "add", facts.subnet("n9"), "via", facts.underlay("n9"))
    direct.write()
    agent.says("leases", times=2)
    assert len(agent.lines("flannels-routes-removed")) == 1
    assert facts.routes(direct.n1, facts.subnet("n9")), "nobody's"


@EACH_FAMILY
def test_others_routes_are_left_alone(direct: Cluster) -> None:
    facts = direct.facts
    direct.n1.ip("route", "add", facts.subnet("n99"), "via", facts.underlay("n9"))
    direct.started("n2")
    direct.started("n1").stop()
    direct.configure(DirectRouting=False)
    agent = direct.started("n1")
    assert not routes(direct), "of the start before"
    assert facts.routes(direct.n1, facts.subnet("n99"))
    assert agent.tunnel(direct.facts.family)["direct-routes"] == 0
    assert direct.n1.pings(direct.facts.tunnel_ip("n2"))


class Many(Struct, frozen=True):
    """Where there is room for thousands of peers."""

    network: str
    link: str
    """Of addresses of a link that all peers are on, and n1 with the first one."""
    subnet_bits: int

    def subnet(self, number: int) -> str:
        """Of a peer."""
        network = ip_network(self.network)
        shift = network.max_prefixlen - self.subnet_bits
        return f"{network[number << shift]}/{self.subnet_bits}"

    def underlay(self, number: int) -> str:
        """Of the same peer."""
        return str(ip_network(self.link)[number])


MANY: Final = {
    4: Many("10.128.0.0/9", "172.20.0.0/16", 24),
    6: Many("fd00:244::/48", "fd14::/64", 64),
}


@EACH_FAMILY
def test_five_thousand_peers_on_one_link(direct: Cluster) -> None:
    facts = direct.facts
    many = MANY[facts.family]
    nodad = ("nodad",) * (facts.family == 6)
    address = (f"{many.underlay(1)}/{ip_network(many.link).prefixlen}", "dev", "v1")
    direct.n1.ip("address", "add", *address, *nodad)
    direct.net_conf.write_text(direct.net_conf.read_text().replace(facts.network, many.network))
    for number in range(256, 256 + PEERS):
        high, low = divmod(number, 256)
        direct.entries[f"p{number}"] = {
            "node": f"p{number}",
            "subnet": many.subnet(number),
            "public-ip": many.underlay(number),
            "backend-data": {"VNI": 1, "VtepMAC": f"02:00:00:01:{high:02x}:{low:02x}"},
        }
    direct.write()
    agent = direct.started("n1")
    assert len(routes(direct)) == PEERS + 1
    some = many.subnet(1799)
    direct.n1.ip("route", "del", some)
    wait_for("repair", lambda: some in routes(direct), LIMIT * 2)
    direct.n1.ip("address", "del", *address)
    wait_for("into the tunnel", lambda: len(routes(direct)) == 1)
    direct.n1.ip("address", "add", *address, *nodad)
    wait_for("onto the link", lambda: len(routes(direct)) == PEERS + 1)
    assert not agent.lines("direct-routes-trouble")
