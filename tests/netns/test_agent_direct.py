# SPDX-License-Identifier: Apache-2.0
"""DirectRouting: peers on the same link without the tunnel, and back, as the underlay changes.

Beside the link between the nodes (192.168.50.0/24) there is a second one (10.9.0.0/24): a route
over it, by a gateway, takes a peer off the first link while packets still reach it.
"""

from typing import Final

import pytest

from fwd.node.routetable import PROTOCOL
from tests.netns.agent_support import Agent, Cluster, entry, wait_for

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
        node.ip("address", "add", f"10.9.0.{number}/24", "dev", f"v{number}")
        node.ip("link", "set", f"v{number}", "up")
    cluster.configure(DirectRouting=True)
    return cluster


def routes(cluster: Cluster) -> dict[str, str]:
    """n1's direct routes: subnet to gateway."""
    found = cluster.n1.show("route", "show", "proto", str(PROTOCOL))
    return {route["dst"]: route["gateway"] for route in found}


def tunnelled(agent: Agent) -> int:
    count: int = agent.tunnel()["counters"]["out_packets"]
    return count


NEAR: Final = {"10.244.2.0/24": "192.168.50.2"}


def test_a_peer_moves_between_link_and_tunnel(direct: Cluster) -> None:
    direct.started("n2")
    agent = direct.started("n1")
    assert routes(direct) == NEAR
    before = tunnelled(agent)
    assert direct.n1.pings("10.244.2.0")
    assert tunnelled(agent) == before
    assert agent.tunnel()["direct-routes"] == 1
    for _ in range(2):
        direct.n1.ip("route", "add", "192.168.50.2/32", "via", "10.9.0.2")
        wait_for("into the tunnel", lambda: not routes(direct), LIMIT)
        before = tunnelled(agent)
        assert direct.n1.pings("10.244.2.0")
        assert tunnelled(agent) > before
        direct.n1.ip("route", "del", "192.168.50.2/32")
        wait_for("onto the link", lambda: routes(direct) == NEAR, LIMIT)
        assert direct.n1.pings("10.244.2.0")


def test_a_policy_rule_counts_too(direct: Cluster) -> None:
    direct.started("n2")
    direct.started("n1")
    direct.n1.ip("route", "add", "192.168.50.2/32", "via", "10.9.0.2", "table", "7")
    direct.n1.ip("rule", "add", "to", "192.168.50.2", "table", "7")
    wait_for("into the tunnel", lambda: not routes(direct), LIMIT)
    direct.n1.ip("rule", "del", "to", "192.168.50.2", "table", "7")
    wait_for("onto the link", lambda: routes(direct) == NEAR, LIMIT)


def test_routes_follow_the_leases(direct: Cluster) -> None:
    direct.started("n2")
    agent = direct.started("n1")
    direct.entries["n3"] = entry("n3")
    direct.write()
    far = {"10.244.3.0/24": "192.168.50.3"}
    wait_for("a new peer", lambda: routes(direct) == NEAR | far, LIMIT)
    direct.entries["n3"]["public-ip"] = "10.9.0.3"
    direct.write()
    wait_for("its new address", lambda: routes(direct) == NEAR | {"10.244.3.0/24": "10.9.0.3"})
    del direct.entries["n3"]
    direct.write()
    wait_for("its end", lambda: routes(direct) == NEAR, LIMIT)
    assert not agent.lines("direct-routes-trouble")


def test_a_route_that_others_remove_comes_back(direct: Cluster) -> None:
    direct.started("n2")
    direct.started("n1")
    direct.n1.ip("route", "del", "10.244.2.0/24")
    wait_for("repair", lambda: routes(direct) == NEAR, LIMIT)


def test_another_route_in_its_place_is_not_overwritten(direct: Cluster) -> None:
    own = ("10.244.2.0/24", "via", "192.168.50.9", "proto", "static")
    direct.n1.ip("route", "add", *own)
    agent = direct.started("n1")
    assert "10.244.2.0/24" in agent.says("direct-routes-trouble")
    assert not routes(direct)
    direct.n1.ip("route", "del", *own)
    wait_for("its turn", lambda: routes(direct) == NEAR, LIMIT)


@pytest.mark.parametrize("on", [True, False])
def test_flannels_own_direct_routes_are_taken_over(direct: Cluster, *, on: bool) -> None:
    direct.configure(DirectRouting=on)
    direct.n1.ip("route", "add", "10.244.2.0/24", "via", "192.168.50.2")
    direct.started("n2")
    agent = direct.started("n1")
    assert routes(direct) == (NEAR if on else {})
    assert len(direct.n1.show("route", "show", "10.244.2.0/24")) == on
    assert agent.lines("flannels-routes-removed")
    assert direct.n1.pings("10.244.2.0")


def test_others_routes_are_left_alone(direct: Cluster) -> None:
    direct.n1.ip("route", "add", "10.244.99.0/24", "via", "192.168.50.9")
    direct.started("n2")
    direct.started("n1").stop()
    direct.configure(DirectRouting=False)
    agent = direct.started("n1")
    assert not routes(direct), "of the start before"
    assert direct.n1.show("route", "show", "10.244.99.0/24")
    assert agent.tunnel()["direct-routes"] == 0
    assert direct.n1.pings("10.244.2.0")


def test_five_thousand_peers_on_one_link(direct: Cluster) -> None:
    direct.n1.ip("address", "add", "172.20.0.1/16", "dev", "v1")
    direct.net_conf.write_text(direct.net_conf.read_text().replace("10.244.0.0/16", "10.128.0.0/9"))
    for number in range(256, 256 + PEERS):
        high, low = divmod(number, 256)
        mac = f"02:00:00:01:{high:02x}:{low:02x}"
        direct.entries[f"p{number}"] = {
            "node": f"p{number}",
            "subnet": f"10.{128 + high}.{low}.0/24",
            "public-ip": f"172.20.{high}.{low}",
            "backend-data": {"VNI": 1, "VtepMAC": mac},
        }
    direct.write()
    agent = direct.started("n1")
    assert len(routes(direct)) == PEERS + 1
    direct.n1.ip("route", "del", "10.135.7.0/24")
    wait_for("repair", lambda: "10.135.7.0/24" in routes(direct), LIMIT * 2)
    direct.n1.ip("address", "del", "172.20.0.1/16", "dev", "v1")
    wait_for("into the tunnel", lambda: len(routes(direct)) == 1, LIMIT * 2)
    direct.n1.ip("address", "add", "172.20.0.1/16", "dev", "v1")
    wait_for("onto the link", lambda: len(routes(direct)) == PEERS + 1, LIMIT * 2)
    assert not agent.lines("direct-routes-trouble")
