# SPDX-License-Identifier: Apache-2.0
"""The wire between nodes: one bridge in a namespace of its own, one veth to each node.  Pure.

The bridge itself has an address too: there the API server's stand-in listens, reachable for every
node as one in a real cluster is, over the underlay.

Nothing of it is in the machine's own namespace, so neither its addresses nor its firewall matter,
and two labs with the same addresses do not meet.  Faults and offload switches of a node's link
belong to its port here: ``PORT_PREFIX`` + index, in the switch.
"""

from typing import Final

from fwd.lab.steps import Step, ip
from fwd.lab.topology import Node, Source, Topology

BRIDGE: Final = "br0"
UPLINK: Final = "eth0"  # the node's end


def port(node: Node) -> str:
    """Name of the switch's end of a node's link."""
    return f"port{node.index}"


def switch(topology: Topology) -> list[Step]:
    """The bridge, in the switch's namespace."""
    has_control = topology.spec.source is not Source.STATIC
    addresses = [
        ip(f"addr add {plan.control} dev {BRIDGE}{' nodad' * (plan.family == 6)}")
        for plan in topology.plans
    ]
    return [
        ip("link set lo up"),
        # Without snooping a bridge floods what it has not learnt: no querier is needed here.
        ip(
            f"link add {BRIDGE} mtu {topology.spec.mtu} type bridge"
            " stp_state 0 forward_delay 0 mcast_snooping 0"
        ),
        *(addresses if has_control else ()),
        ip(f"link set {BRIDGE} up"),
    ]


def plug(topology: Topology, node: Node) -> list[Step]:
    """A cable from the switch to a node, in the switch's namespace.

    The node's end has the same address in every run: who leaves and joins again is the same machine
    to the others, whose neighbour entries may be a minute old.
    """
    mtu, mac = topology.spec.mtu, f"02:00:00:01:00:{node.index:02x}"
    return [
        ip(
            f"link add {port(node)} mtu {mtu} type veth"
            f" peer name {UPLINK} mtu {mtu} address {mac} netns {node.namespace}"
        ),
        ip(f"link set {port(node)} master {BRIDGE} up"),
    ]


def uplink(topology: Topology, node: Node) -> list[Step]:
    """The node's end, in the node's namespace."""
    addresses = [
        ip(f"addr add {plan.node(node.index)} dev {UPLINK}{' nodad' * (plan.family == 6)}")
        for plan in topology.plans
    ]
    return [*addresses, ip(f"link set {UPLINK} up")]
