# SPDX-License-Identifier: Apache-2.0
"""A node as stock flannel programs it: the kernel's vxlan device, and three entries a peer.  Pure.

Written against the flannel spec 5.1 (the device) and 5.3 (a peer's lease).  The kernel is the
foreign peer against which fwd is tested, so nothing here may be easier on fwd than flannel is.
Which peers there are: the ``Topology`` with static leases, else ``kernelagent``, by the Nodes.
"""

from collections.abc import Iterable

from msgspec import Struct

from fwd.lab.familyplan import FamilyPlan, IPAddress, IPNetwork
from fwd.lab.steps import Step, bridge, ip, sysctl
from fwd.lab.topology import PORT, VNI, Node, Topology
from fwd.lab.underlay import UPLINK


def device(plan: FamilyPlan) -> str:
    """Name of the VXLAN device of a family."""
    return _device(plan.family)


class Peer(Struct, frozen=True):
    """A lease of another node, in one family."""

    subnet: IPNetwork
    public_ip: IPAddress
    mac: str

    @property
    def vtep(self) -> IPAddress:
        """Address of its VXLAN device."""
        return self.subnet.network_address

    @property
    def device(self) -> str:
        """Name of our device for its family."""
        return _device(self.subnet.version)


def vtep(topology: Topology, node: Node) -> list[Step]:
    """The node's VXLAN devices, in the node's namespace (5.1)."""
    steps: list[Step] = []
    for plan in topology.plans:
        name, host = device(plan), plan.cluster.max_prefixlen
        steps += [
            # The outer checksum is not named: flannel leaves it to the kernel, whose default is on.
            ip(
                f"link add {name} mtu {topology.pod_mtu} address {node.mac} type vxlan"
                f" id {VNI} dev {UPLINK} local {plan.node(node.index).ip} dstport {PORT} nolearning"
            ),
            sysctl(f"net/ipv6/conf/{name}/accept_ra", 0),
            ip(
                f"addr add {plan.vtep(node.index)}/{host} dev {name}{' nodad' * (plan.family == 6)}"
            ),
            ip(f"link set {name} up"),
        ]
    return steps


def of_topology(topology: Topology, nodes: Iterable[Node]) -> list[Peer]:
    """The leases of these nodes, as the plan has them; a bare node has none."""
    return [
        Peer(plan.subnet(node.index), plan.node(node.index).ip, node.mac)
        for plan in topology.plans
        for node in nodes
        if node.has_tunnel
    ]


def add_peers(peers: Iterable[Peer]) -> list[Step]:
    """What each peer's lease adds, in the node's namespace (5.3).

    flannel does the three for one lease after another; here all leases' first come before all
    leases' second, so that a big lab needs three processes and not three a peer.  For each
    lease the order is flannel's: neighbour, FDB, route.
    """
    peers = tuple(peers)
    return [
        *(
            ip(f"neigh replace {peer.vtep} lladdr {peer.mac} nud permanent dev {peer.device}")
            for peer in peers
        ),
        *(
            bridge(f"fdb replace {peer.mac} dev {peer.device} dst {peer.public_ip} self permanent")
            for peer in peers
        ),
        *(
            ip(f"route replace {peer.subnet} via {peer.vtep} dev {peer.device} onlink")
            for peer in peers
        ),
    ]


def remove_peer(peer: Peer) -> list[Step]:
    """What undoes a lease; flannel does each step whatever became of the one before (5.3)."""
    return [
        ip(f"neigh del {peer.vtep} dev {peer.device}"),
        bridge(f"fdb del {peer.mac} dev {peer.device} dst {peer.public_ip} self"),
        ip(f"route del {peer.subnet} via {peer.vtep} dev {peer.device} onlink"),
    ]


def _device(family: int) -> str:
    return f"flannel.{VNI}" if family == 4 else f"flannel-v6.{VNI}"
