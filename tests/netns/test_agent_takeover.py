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
from tests.netns.agent_support import Cluster, Namespace, require_bridge_filter
from tests.netns.rules_support import ENGINES, Node, write_as_flannel

pytestmark = [pytest.mark.netns, pytest.mark.root]

MACS: Final = {1: "fa:11:11:11:11:01", 2: "fa:22:22:22:22:02"}
SUBNET_ENV: Final = (
    "FLANNEL_NETWORK=10.244.0.0/16\n"
    "FLANNEL_SUBNET=10.244.1.1/24\n"
    "FLANNEL_MTU=1450\n"
    "FLANNEL_IPMASQ=true\n"
)


def add_vxlan(node: Namespace, own: int) -> bool:
    """The device, if its name is free."""
    line = f"link add flannel.1 mtu 1450 address {MACS[own]} type vxlan id 1 dev u{own}"
    line += f" local 192.168.50.{own} dstport 8472 nolearning"
    done = subprocess.run(["ip", "-n", node.name, *line.split()], timeout=10, check=False)
    return done.returncode == 0


def flannel_starts(node: Namespace, own: int) -> None:
    """As flanneld does: its device, whatever has the name; then all for its one peer."""
    if not add_vxlan(node, own):
        (link,) = node.show("link", "show", "flannel.1")
        assert link["linkinfo"]["info_kind"] != "vxlan"
        node.ip("link", "del", "flannel.1")
        assert add_vxlan(node, own)
    node.ip("address", "add", f"10.244.{own}.0/32", "dev", "flannel.1")
    node.ip("link", "set", "flannel.1", "up")
    peer = 3 - own
    gateway = f"10.244.{peer}.0"
    node.ip(*f"neigh replace {gateway} lladdr {MACS[peer]} nud permanent dev flannel.1".split())
    fdb = f"fdb replace {MACS[peer]} dev flannel.1 dst 192.168.50.{peer} self permanent"
    assert node.run("bridge", *fdb.split()).returncode == 0
    node.ip(*f"route replace {gateway}/24 via {gateway} dev flannel.1 onlink".split())


def routes(node: Namespace) -> list[str]:
    lines = node.ip("route", "show", "table", "main").splitlines()
    return sorted(line.replace(" linkdown", "").strip() for line in lines)


def ipv4_rules(node: Node, engine: str) -> str:
    """Without those of the other family, which flannel writes for a network that is off."""
    return node.dump(engine).partition("table ip6" if engine == "nftables" else "$ ip6tables")[0]


@pytest.mark.parametrize("engine", ENGINES)
def test_from_flannel_to_fwd_and_back(cluster: Cluster, engine: str) -> None:
    n1, n2, rules = cluster.n1, cluster.n2, Node(cluster.n1.name)
    if engine != "nftables":
        require_bridge_filter()
    cluster.configure(nft=engine == "nftables")
    for number, entry in enumerate(cluster.entries.values(), 1):
        entry["backend-data"] = {"VNI": 1, "VtepMAC": MACS[number]}
    del cluster.entries["n1"]["backend-data"]  # the device alone knows
    cluster.write()
    flannel_starts(n1, 1)
    flannel_starts(n2, 2)
    write_as_flannel(rules, engine)
    subnet_env = cluster.directory / "n1/subnet.env"
    subnet_env.parent.mkdir()
    subnet_env.write_text(SUBNET_ENV)
    assert n2.pings("10.244.1.0")
    was, was_routes = ipv4_rules(rules, engine), routes(n1)

    agent = cluster.started("n1", "--ip-masq")
    assert agent.tunnel()["vtep-mac"] == MACS[1]
    assert n2.pings("10.244.1.0")
    assert n1.pings("10.244.2.0")
    assert not n1.show("route", "show", "10.244.2.0/24"), "went with the device"
    assert subnet_env.read_text() == SUBNET_ENV
    assert ipv4_rules(rules, engine) == was
    if engine == "iptables-nft":  # the other family's rules are not in our nft tables
        assert "FLANNEL" not in rules.run("ip6tables-nft-save")
    assert agent.stop()[0] == 0

    flannel_starts(n1, 1)
    assert n2.pings("10.244.1.0")
    assert n1.pings("10.244.2.0")
    assert routes(n1) == was_routes
    assert not n1.show("route", "show", "proto", str(PROTOCOL))
    assert ipv4_rules(rules, engine) == was
    assert subnet_env.read_text() == SUBNET_ENV
