# SPDX-License-Identifier: Apache-2.0
"""The lab's nodes as Nodes of the API server, and such Nodes as peers of a kernel node.  Pure.

Which annotations there are and what makes a Node a peer: flannel spec 3.2, 3.3 and 3.5.  The agents
of nodes that run fwd write and read the same, by their own code.
"""

from ipaddress import ip_address, ip_network

import msgspec
from msgspec import Struct

from fwd.lab import clusternodes
from fwd.lab.clusternodes import FAMILY_MARKS, PREFIX, Object
from fwd.lab.kernelnode import Peer
from fwd.lab.topology import Node, Topology


class _BackendData(Struct):
    vtep_mac: str = msgspec.field(name="VtepMAC")


def fresh(topology: Topology, node: Node) -> Object:
    """A node that its kubelet has registered and that has its podCIDRs, and no agent yet."""
    return clusternodes.made(
        node.name,
        seed=node.index,
        addresses=[str(plan.node(node.index).ip) for plan in topology.plans],
        cidrs=[str(plan.subnet(node.index)) for plan in topology.plans],
        marks={},
    )


def published(topology: Topology, node: Node) -> dict[str, str]:
    """The annotations of a kernel node: the text is what flannel would write."""
    found = {plan.family: str(plan.node(node.index).ip) for plan in topology.plans}
    return clusternodes.annotations(mac=node.mac, ip=found.get(4, ""), ip6=found.get(6, ""))


def name_of(found: Object) -> str:
    """A Node's name."""
    name: str = found["metadata"]["name"]
    return name


def peers_of(found: Object, *, families: tuple[int, ...]) -> tuple[Peer, ...] | None:
    """The leases that a Node states, one a family; None for a Node that is no flannel's.

    Raises:
        ValueError: it says that it is, and something is missing or wrong; flannel then passes over
            the whole of it.
    """
    marks = found["metadata"].get("annotations") or {}
    if marks.get(f"{PREFIX}/kube-subnet-manager") != "true":
        return None
    if (kind := marks.get(f"{PREFIX}/backend-type")) != "vxlan":
        raise ValueError(f"backend-type {kind!r} is not vxlan")
    spec = found.get("spec", {})
    subnets = [ip_network(cidr) for cidr in spec.get("podCIDRs") or [spec.get("podCIDR", "")]]
    peers = []
    for family in families:
        data, where = FAMILY_MARKS[family]
        own = [subnet for subnet in subnets if subnet.version == family]
        if not own:
            raise ValueError(f"missing IPv{family} address on n.Spec.PodCIDRs")
        mac = msgspec.json.decode(marks.get(data, ""), type=_BackendData).vtep_mac
        peers.append(Peer(own[0], ip_address(marks.get(where, "")), mac))
    return tuple(peers)
