# SPDX-License-Identifier: Apache-2.0
"""A node as stock flannel programs it: the kernel's vxlan device, and three entries a peer.  Pure.

Written against the flannel spec 5.1 (the device) and 5.3 (a peer's lease).  The kernel is the
foreign peer against which fwd is tested, so nothing here may be easier on fwd than flannel is.
"""

from collections.abc import Iterable

from fwd.lab.steps import Step, bridge, ip, sysctl
from fwd.lab.topology import PORT, VNI, FamilyPlan, Node, Topology
from fwd.lab.underlay import UPLINK


def device(plan: FamilyPlan) -> str:
    """Name of the VXLAN device of a family."""
    return f"flannel.{VNI}" if plan.family == 4 else f"flannel-v6.{VNI}"


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


def add_peers(topology: Topology, peers: Iterable[Node]) -> list[Step]:
    """What each peer's lease adds, in the node's namespace (5.3).

    flannel does the three for one lease after another; here all leases' first come before all
    leases' second, so that a big lab needs three processes and not three a peer.  For each
    lease the order is flannel's: neighbour, FDB, route.
    """
    peers = tuple(peers)
    neighbours, fdb, routes = [], [], []
    for plan in topology.plans:
        name = device(plan)
        for peer in peers:
            address = plan.vtep(peer.index)
            neighbours.append(
                ip(f"neigh replace {address} lladdr {peer.mac} nud permanent dev {name}")
            )
            fdb.append(
                bridge(
                    f"fdb replace {peer.mac} dev {name}"
                    f" dst {plan.node(peer.index).ip} self permanent"
                )
            )
            routes.append(
                ip(f"route replace {plan.subnet(peer.index)} via {address} dev {name} onlink")
            )
    return [*neighbours, *fdb, *routes]
