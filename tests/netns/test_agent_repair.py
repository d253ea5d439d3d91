# SPDX-License-Identifier: Apache-2.0
"""What others take away from the agent, or have already: address, route, device, port."""

import json

import pytest

from tests.netns.agent_support import EACH_FAMILY, Agent, Cluster, key, wait_for
from tests.netns.test_agent import own_addresses, routes

pytestmark = [pytest.mark.netns, pytest.mark.root, EACH_FAMILY]

WIDE = {4: ("10.240.0.0/12", "10.250.1.0/24"), 6: ("fd00:240::/28", "fd00:24a:0:1::/64")}
"""An earlier network, which the tests' is part of, and a subnet of it outside that."""
OTHERS = {4: ("10.9.0.0/16", "10.9.0.1/32"), 6: ("fd09::/64", "fd09::1/128")}
"""What an administrator may want on the device: a route and an address."""
VXLAN = "type vxlan id 1 dstport 8472 dev u1 nolearning local"


@pytest.mark.parametrize(
    "change",
    [
        ("route del {0.network}",),
        ("address del {1} dev {0.device}",),
        ("link set {0.device} down", "link set {0.device} up"),
    ],
    ids=["route", "address", "down and up"],
)
def test_a_lost_address_or_route_is_put_back(
    pair: tuple[Cluster, Agent, Agent], change: tuple[str, ...]
) -> None:
    cluster, first, _ = pair
    facts = cluster.facts
    for line in change:
        cluster.n1.ip(*line.format(facts, facts.own_address("n1")).split())
    assert "lacked=" in first.says("device-repaired")
    assert routes(cluster) == [facts.network]
    assert own_addresses(cluster) == [facts.own_address("n1")]
    assert cluster.n1.pings(facts.tunnel_ip("n2"))


@pytest.mark.parametrize("beside", [True, False], ids=["beside others'", "alone"])
def test_an_earlier_networks_route_and_address_go(
    cluster: Cluster, family: int, *, beside: bool
) -> None:
    """They are on a device that stays, and cut off what has got the addresses since."""
    facts, lease = cluster.facts, cluster.lease("n1")
    right, conf = lease["subnet"], cluster.net_conf.read_text()
    network, lease["subnet"] = WIDE[family]
    cluster.write()
    cluster.net_conf.write_text(json.dumps(json.loads(conf) | {facts.network_key: network}))
    cluster.started("n1").stop()
    assert routes(cluster) == [network]
    route, address = OTHERS[family]
    cluster.n1.ip(*f"-{family} route add {route} dev {facts.device}".split())
    if beside:
        cluster.n1.ip("address", "add", address, "dev", facts.device)

    lease["subnet"] = right
    cluster.write()
    cluster.net_conf.write_text(conf)
    agent = cluster.started("n1")
    assert routes(cluster) == [facts.network]
    assert facts.routes(cluster.n1, "dev", facts.device, "proto", "boot")
    own = {facts.own_address("n1")}
    assert {*own_addresses(cluster)} == (own | {address} if beside else own)
    cluster.n1.ip(*f"-{family} route add {network} dev {facts.device} proto 87".split())
    assert "lacked=route" in agent.says("device-repaired")
    assert routes(cluster) == [facts.network]
    assert facts.routes(cluster.n1, "dev", facts.device, "proto", "boot")


def test_a_device_that_is_down_is_set_up_where_addresses_are_kept(
    pair: tuple[Cluster, Agent, Agent],
) -> None:
    """As an administrator may want it for IPv6; IPv4's always are."""
    cluster, first, _ = pair
    kept = f"net.ipv6.conf.{cluster.facts.device.replace('.', '/')}.keep_addr_on_down=1"
    assert cluster.n1.run("sysctl", "-w", kept).returncode == 0
    cluster.n1.ip("link", "set", cluster.facts.device, "down")
    assert "lacked=" in first.says("device-repaired")
    wait_for("packets", lambda: cluster.n1.pings(cluster.facts.tunnel_ip("n2")))


def test_a_start_that_fails_loses_no_mac(cluster: Cluster) -> None:
    mac, facts = "0e:11:22:33:44:55", cluster.facts
    vxlan = f"{VXLAN} {facts.underlay('n1')}"
    del cluster.entries[key("n1", facts.family)]["backend-data"]
    cluster.write()
    cluster.n1.ip("link", "add", facts.device, "address", mac, *vxlan.split())
    cluster.n1.ip("link", "add", "other", *vxlan.replace("id 1", "id 9").split())
    cluster.n1.ip("link", "set", "other", "up")  # has the port
    assert cluster.start("n1").ended() == 1
    cluster.n1.ip("link", "del", "other")
    assert cluster.started("n1").tunnel(facts.family)["vtep-mac"] == mac


def test_a_port_is_not_shared_with_a_stranger(cluster: Cluster) -> None:
    cluster.started("n1")
    conf = cluster.directory / "other.json"
    content = json.loads(cluster.net_conf.read_text())
    content["Backend"]["VNI"] = 7
    conf.write_text(json.dumps(content))
    for entry in cluster.entries.values():
        entry.pop("backend-data", None)
    leases = cluster.directory / "leases7.json"
    leases.write_text(json.dumps({"leases": [cluster.entries[key("n1", cluster.facts.family)]]}))
    flags = ("--run-dir", str(cluster.directory / "seven"), "--net-config-path", str(conf))
    second = cluster.start("n1", *flags, "--static-leases", str(leases))
    assert second.ended() == 1
    assert "UDP port 8472: the port is taken" in second.log
