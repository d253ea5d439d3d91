# SPDX-License-Identifier: Apache-2.0
"""A node's own part and its Pods: forwarding, ``cni0``, veths; for every data plane.  Pure.

``bridge``, ``attach`` and ``pod`` are what the CNI bridge plugin makes of flannel's conflist
(flannel spec 9.2): gateway address on ``cni0``, hairpin on each port, a default route in each Pod,
the Pod MTU on all of them.  With ``Wiring.CNI`` the plugin itself does it (``pods``).
"""

from typing import Final

from fwd.lab.steps import Step, ip, sysctl
from fwd.lab.topology import Node, Pod, Topology

CNI: Final = "cni0"
POD_LINK: Final = "eth0"  # the Pod's end

_DAD: Final = "net/ipv6/conf/default/accept_dad"
_FORWARDING: Final = {4: "net/ipv4/ip_forward", 6: "net/ipv6/conf/all/forwarding"}


def port(pod: Pod) -> str:
    """Name of the node's end of a Pod's veth."""
    return f"veth{pod.index}"


def host(topology: Topology) -> list[Step]:
    """A node's namespace before it has links; ``default`` is what later links begin with."""
    return [
        ip("link set lo up"),
        *(sysctl(_FORWARDING[plan.family], 1) for plan in topology.plans),
        # The CNI plugin asks whether anybody else has cni0's address, and for up to two seconds a
        # Pod has no gateway: true of any IPv6 node, and nothing that a lab is there to measure.
        *(sysctl(_DAD, 0) for plan in topology.plans if plan.family == 6),
        # Off, and not what the machine has: a packet that is lost here was lost by the data plane
        # under test, which counts it, and not by a filter of the node, which does not.
        sysctl("net/ipv4/conf/all/rp_filter", 0),
        sysctl("net/ipv4/conf/default/rp_filter", 0),
    ]


def bridge(topology: Topology, node: Node) -> list[Step]:
    """``cni0`` with the gateway's address, in the node's namespace."""
    addresses = [
        ip(f"addr add {plan.gateway(node.index)} dev {CNI}{' nodad' * (plan.family == 6)}")
        for plan in topology.plans
    ]
    return [
        ip(f"link add {CNI} mtu {topology.pod_mtu} type bridge stp_state 0 forward_delay 0"),
        *addresses,
        ip(f"link set {CNI} up"),
    ]


def attach(topology: Topology, pod: Pod) -> list[Step]:
    """A Pod's veth, in the node's namespace."""
    mtu = topology.pod_mtu
    return [
        ip(
            f"link add {port(pod)} mtu {mtu} type veth"
            f" peer name {POD_LINK} mtu {mtu} netns {pod.namespace}"
        ),
        ip(f"link set {port(pod)} master {CNI} up"),
        ip(f"link set {port(pod)} type bridge_slave hairpin on"),
    ]


def sandbox() -> list[Step]:
    """A Pod's namespace before anybody connects it."""
    return [ip("link set lo up")]


def pod(topology: Topology, pod: Pod) -> list[Step]:
    """The Pod's end of its veth, in the Pod's own namespace."""
    steps = []
    for plan in topology.plans:
        address = plan.pod(pod.node, pod.index)
        steps.append(ip(f"addr add {address} dev {POD_LINK}{' nodad' * (plan.family == 6)}"))
    steps.append(ip(f"link set {POD_LINK} up"))
    gateways = (plan.gateway(pod.node).ip for plan in topology.plans)
    return [*steps, *(ip(f"route add default via {gateway}") for gateway in gateways)]
