# SPDX-License-Identifier: Apache-2.0
"""An agent whose subnet is the whole network: one node, or `kubeadm --pod-network-cidr` of a /24.

flannel has no route of the network there, and a rule twice.
"""

import json
from ipaddress import ip_network

import pytest

from tests.netns.agent_support import (
    BOTH_FAMILIES,
    FACTS,
    Agent,
    Cluster,
    key,
    require_bridge_filter,
    wait_for,
)
from tests.netns.host_support import ENGINES
from tests.netns.rules_support import Node

pytestmark = [pytest.mark.netns, pytest.mark.root, BOTH_FAMILIES]

FLAGS = ("--ip-masq", "--iptables-resync=1")


@pytest.fixture
def alone(cluster: Cluster) -> Cluster:
    """n1 has both networks to itself, and a bridge for its Pods."""
    conf = json.loads(cluster.net_conf.read_text())
    cluster.n1.ip("link", "add", "cni0", "type", "bridge")
    cluster.n1.ip("link", "add", "pod", "master", "cni0", "type", "veth", "peer", "name", "eth0")
    for family, facts in FACTS.items():
        subnet = ip_network(facts.subnet("n1"))
        conf[facts.network_key] = str(subnet)
        del cluster.entries[key("n2", family)]
        nodad = ("nodad",) * (family == 6)
        cluster.n1.ip("address", "add", f"{subnet[1]}/{subnet.prefixlen}", "dev", "cni0", *nodad)
    for link in ("eth0", "pod", "cni0"):
        cluster.n1.ip("link", "set", link, "up")
    cluster.net_conf.write_text(json.dumps(conf))
    cluster.write()
    return cluster


def routes(cluster: Cluster, device: str) -> list[str]:
    """Of both networks into a device."""
    found = [
        route["dst"]
        for facts in FACTS.values()
        for route in facts.routes(cluster.n1, "exact", facts.subnet("n1"), "dev", device)
    ]
    return sorted(found)


def assert_pods_are_local(cluster: Cluster) -> None:
    assert routes(cluster, "cni0") == sorted(facts.subnet("n1") for facts in FACTS.values())
    for family, facts in FACTS.items():
        assert routes(cluster, facts.device) == []
        pod = str(ip_network(facts.subnet("n1"))[7])
        (way,) = cluster.n1.show(f"-{family}", "route", "get", pod)
        assert way["dev"] == "cni0"


def let_it_look(cluster: Cluster, agent: Agent, engine: str) -> None:
    """Breaks a rule: that one repair is told says that there was a look at all of them."""
    told = len(agent.lines("host-repaired"))
    node = Node(cluster.n1.name)
    before = node.dump(engine)
    if engine == "nftables":
        node.run("nft", "flush", "chain", "ip6", "flannel-ipv6", "forward")
    else:
        node.run("ip6tables-nft", "-F", "FLANNEL-FWD")
    assert "changes=2 " in agent.says("host-repaired", times=told + 1)
    wait_for("repair", lambda: node.dump(engine) == before)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_rules_stay_and_pods_are_reached(alone: Cluster, engine: str) -> None:
    if engine != "nftables":
        require_bridge_filter()
    alone.net_conf.write_text(
        json.dumps(json.loads(alone.net_conf.read_text()) | {"EnableNFTables": ENGINES[engine]})
    )
    alone.started("n1", *FLAGS).stop()
    assert_pods_are_local(alone)
    dump = Node(alone.n1.name).dump(engine)
    again = alone.started("n1", *FLAGS)  # finds its chains
    for _ in range(2):
        let_it_look(alone, again, engine)
    assert Node(alone.n1.name).dump(engine) == dump
    for facts in FACTS.values():
        both = [line for line in dump.splitlines() if line.count(f" {facts.subnet('n1')} ") == 2]
        assert [line for line in both if both.count(line) == 2], "to Pods and from Pods"
    assert_pods_are_local(alone)
    assert not again.lines("device-repaired")
    assert "Traceback" not in again.log


def test_a_route_of_the_network_is_taken_back(alone: Cluster) -> None:
    """An earlier fwd made it, and it is not only looked for at a start."""
    agent = alone.started("n1", *FLAGS)
    for times, (family, facts) in enumerate(FACTS.items(), 1):
        into = (facts.subnet("n1"), "dev", facts.device, "proto", "boot")
        scope = ("scope", "link") if family == 4 else ()
        alone.n1.ip(f"-{family}", "route", "append", *into, *scope)
        assert "lacked=route" in agent.says("device-repaired", times=times)
        assert_pods_are_local(alone)
