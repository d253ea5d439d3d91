# SPDX-License-Identifier: Apache-2.0
"""A node on which stock flannel ran becomes ours, and flannel's again, without leftovers.

Both nodes begin as flannel sets them up (spec 5.1, 5.3, 7.2, 8); the second stays so, and never
learns that its peer has changed.  What flannel does with our TUN when it comes back was read in its
source (ensureLink in pkg/backend/vxlan/device.go): adding the vxlan device fails with EEXIST, the
link of that name is of another type, so it is deleted and the device is added again.
"""

import subprocess
from typing import Final

import pytest

from fwd.node.routetable import PROTOCOL
from tests.netns.agent_support import (
    BOTH_FAMILIES,
    FACTS,
    Cluster,
    Namespace,
    key,
    require_bridge_filter,
)
from tests.netns.rules_support import ENGINES, Node, write_as_flannel
from tests.unit.rules_model import NETWORKS

pytestmark = [pytest.mark.netns, pytest.mark.root]

SUBNET: Final = {4: "10.244.{}.0/24", 6: "2001:cafe:42:{}::/64"}
"""Of node 1 as in the golden rules."""
SUBNET_ENV: Final = (
    "FLANNEL_NETWORK=10.244.0.0/16\n"
    "FLANNEL_SUBNET=10.244.1.1/24\n"
    "FLANNEL_IPV6_NETWORK=2001:cafe:42::/56\n"
    "FLANNEL_IPV6_SUBNET=2001:cafe:42:1::1/64\n"
    "FLANNEL_MTU=1450\n"
    "FLANNEL_IPMASQ=true\n"
)


def mac(family: int, number: int) -> str:
    return f"fa:{family:02}:22:33:44:{number:02}"


def address(family: int, number: int) -> str:
    """A node's tunnel's."""
    return SUBNET[family].format(number).partition("/")[0]


def add_vxlan(node: Namespace, family: int, own: int) -> bool:
    """The device, if its name is free."""
    facts = FACTS[family]
    line = f"link add {facts.device} mtu {facts.mtu} address {mac(family, own)} type vxlan id 1"
    line += f" dev u{own} local {facts.underlay(f'n{own}')} dstport 8472 nolearning"
    done = subprocess.run(["ip", "-n", node.name, *line.split()], timeout=10, check=False)
    return done.returncode == 0


def flannel_starts(node: Namespace, own: int) -> None:
    """As flanneld does: its devices, whatever has their names; then all for its one peer."""
    for family, facts in FACTS.items():
        device = facts.device
        if not add_vxlan(node, family, own):
            (link,) = node.show("link", "show", device)
            assert link["linkinfo"]["info_kind"] != "vxlan"
            node.ip("link", "del", device)
            assert add_vxlan(node, family, own)
        nodad = ("nodad",) * (family == 6)
        node.ip("address", "add", f"{address(family, own)}/{facts.host}", "dev", device, *nodad)
        node.ip("link", "set", device, "up")
        peer = 3 - own
        gateway, there = address(family, peer), mac(family, peer)
        node.ip(*f"neigh replace {gateway} lladdr {there} nud permanent dev {device}".split())
        fdb = f"fdb replace {there} dev {device} dst {facts.underlay(f'n{peer}')} self permanent"
        assert node.run("bridge", *fdb.split()).returncode == 0
        subnet = SUBNET[family].format(peer)
        node.ip(*f"-{family} route replace {subnet} via {gateway} dev {device} onlink".split())


def routes(node: Namespace) -> list[str]:
    lines = [
        line
        for family in FACTS
        for line in node.ip(f"-{family}", "route", "show", "table", "main").splitlines()
    ]
    return sorted(line.replace(" linkdown", "").strip() for line in lines)


def as_flannel_left_it(cluster: Cluster) -> None:
    """Leases in which the MACs of n1 are missing: its devices alone know them."""
    conf = cluster.net_conf.read_text()
    cluster.net_conf.write_text(conf.replace(FACTS[6].network, str(NETWORKS[6])))
    for family in FACTS:
        for number in (1, 2):
            lease = cluster.entries[key(f"n{number}", family)]
            lease["subnet"] = SUBNET[family].format(number)
            lease["backend-data"] = {"VNI": 1, "VtepMAC": mac(family, number)}
        del cluster.entries[key("n1", family)]["backend-data"]
    cluster.write()


@BOTH_FAMILIES
@pytest.mark.parametrize("engine", ENGINES)
def test_from_flannel_to_fwd_and_back(cluster: Cluster, engine: str) -> None:
    n1, n2, rules = cluster.n1, cluster.n2, Node(cluster.n1.name)
    if engine != "nftables":
        require_bridge_filter()
    cluster.configure(nft=engine == "nftables")
    as_flannel_left_it(cluster)
    flannel_starts(n1, 1)
    flannel_starts(n2, 2)
    write_as_flannel(rules, engine)
    subnet_env = cluster.directory / "n1/subnet.env"
    subnet_env.parent.mkdir()
    subnet_env.write_text(SUBNET_ENV)
    assert all(n2.pings(address(family, 1)) for family in FACTS)
    was, was_routes = rules.dump(engine), routes(n1)

    agent = cluster.started("n1", "--ip-masq")
    macs = {one["family"]: one["vtep-mac"] for one in agent.status()["tunnels"]}
    assert macs == {family: mac(family, 1) for family in FACTS}
    for family in FACTS:
        assert n2.pings(address(family, 1))
        assert n1.pings(address(family, 2))
        peer = SUBNET[family].format(2)
        assert not n1.show(f"-{family}", "route", "show", peer), "went with the device"
    assert subnet_env.read_text() == SUBNET_ENV
    assert rules.dump(engine) == was
    assert agent.stop()[0] == 0

    flannel_starts(n1, 1)
    for family in FACTS:
        assert n2.pings(address(family, 1))
        assert n1.pings(address(family, 2))
        assert not n1.show(f"-{family}", "route", "show", "proto", str(PROTOCOL))
    assert routes(n1) == was_routes
    assert rules.dump(engine) == was
    assert subnet_env.read_text() == SUBNET_ENV
