# SPDX-License-Identifier: Apache-2.0
"""What a lab consists of: names, addresses, MACs; computed from a ``Spec`` and nothing else.

Pure: no sockets, no files, no clock.  Who turns it into commands: ``underlay``, ``nodes``,
``kernelnode``; who writes the ``Spec`` down, so that a later command finds the same lab: ``state``.

A family is a value (``familyplan``), so two of them make a dual-stack lab and no function has a
twin.  A node is named by its index; the indexes need not be contiguous: nodes join (``with_node``)
and leave (``without_node``) while the addresses of the others stay.
"""

import enum
import re
from collections.abc import Iterator
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from fwd.lab.familyplan import FAMILY_PLANS, FamilyPlan

# Outer IPv4 20, UDP 8, VXLAN 8, inner Ethernet 14.  flannel takes these 50 off for both families
# and leaves the 20 more of an IPv6 underlay to the kernel's clamp on the device.
OVERHEAD: Final = 50
_IPV6_OVERHEAD: Final = 70
# flannel's own defaults: port 8472 is the Linux kernel's, older than IANA's 4789.
VNI: Final = 1
PORT: Final = 8472

MAX_INDEX: Final = 250  # the last octet of an underlay address, and of a /16's third
MAX_PODS: Final = 200
MIN_MTU: Final = 1280 + _IPV6_OVERHEAD  # Pods must be able to speak IPv6 (RFC 8200, 5)
MAX_MTU: Final = 65535  # the largest a veth takes

FAMILIES: Final = {"4": (4,), "6": (6,), "dual": (4, 6)}
"""By the word that an option has for them."""

_PREFIX = re.compile(r"[a-z][a-z0-9]{0,15}")


class NodeKind(enum.Enum):
    """Which data plane carries a node's Pod traffic."""

    FWD = "fwd"
    KERNEL = "kernel"
    BARE = "bare"  # none: Pods, underlay and firewall rules, for a tunnel of somebody else's


class Source(enum.Enum):
    """Where agents have the leases from."""

    KUBE = "kube"  # Nodes of the API server's stand-in
    ETCD = "etcd"  # keys of an etcd
    STATIC = "static"  # a file that all of them read


class Wiring(enum.Enum):
    """Who connects Pods to their node."""

    CNI = "cni"  # CNI plugins by the node's list, as a container runtime runs them
    VETH = "veth"  # the lab, which does what they would


class NodeSpec(Struct, frozen=True):
    """A node as it was asked for; ``index`` in 1..MAX_INDEX gives its names and addresses."""

    index: int
    kind: NodeKind


class Spec(Struct, frozen=True):
    """All that was asked for; the whole lab follows from it.

    Attributes:
        prefix: what every namespace's name begins with, ``<prefix>-``.
        mtu: of the underlay, in bytes of IP packet; Pods get ``mtu - OVERHEAD``.
        families: 4, 6 or both, in this order.
        run_args: passed on to each ``fwd run``.
        source: where agents have the leases from.
        wiring: who connects Pods to their node.
    """

    prefix: str
    nodes: tuple[NodeSpec, ...]
    pods: int = 1
    mtu: int = 1500
    families: tuple[int, ...] = (4,)
    run_args: tuple[str, ...] = ()
    source: Source = Source.STATIC
    wiring: Wiring = Wiring.VETH


class Pod(Struct, frozen=True):
    """A Pod: a namespace with one ``eth0`` behind its node's ``cni0``; ``index`` counts from 1."""

    name: str
    namespace: str
    node: int
    index: int


class Node(Struct, frozen=True):
    """A node and its Pods.

    Attributes:
        mac: VtepMAC, text, lower case: the inner destination of what peers send to this node.
            Of a node that runs fwd only with static leases: otherwise fwd chooses its own.
    """

    index: int
    kind: NodeKind
    name: str
    namespace: str
    mac: str
    pods: tuple[Pod, ...]

    @property
    def has_tunnel(self) -> bool:
        """Whether it has a lease, by which others send it what is for its Pods."""
        return self.kind is not NodeKind.BARE

    @property
    def namespaces(self) -> tuple[str, ...]:
        """Its own and its Pods'."""
        return (self.namespace, *(pod.namespace for pod in self.pods))


class Topology(Struct, frozen=True):
    """A whole lab, ready to be built."""

    spec: Spec
    switch: str
    nodes: tuple[Node, ...]
    plans: tuple[FamilyPlan, ...]

    @property
    def pod_mtu(self) -> int:
        """MTU of Pods, ``cni0`` and the VXLAN device: what flannel writes as FLANNEL_MTU."""
        return self.spec.mtu - OVERHEAD

    def path_mtu(self, family: int) -> int:
        """Of what goes from node to node: IPv6 Pods have to find it out (flannel spec 5.5)."""
        return self.pod_mtu if family == 4 else self.spec.mtu - _IPV6_OVERHEAD

    @property
    def control_address(self) -> str:
        """Where the control plane listens; agents come by the first family."""
        return str(self.plans[0].control.ip)

    @property
    def pods(self) -> Iterator[Pod]:
        """All Pods, node by node."""
        return (pod for node in self.nodes for pod in node.pods)

    @property
    def namespaces(self) -> tuple[str, ...]:
        """Every namespace of the lab, the switch first."""
        nodes = (name for node in self.nodes for name in node.namespaces)
        return (self.switch, *nodes)

    def peers(self, node: Node) -> tuple[Node, ...]:
        """All the other nodes."""
        return tuple(peer for peer in self.nodes if peer.index != node.index)

    def node(self, name: str) -> Node | None:
        """The node of this name."""
        return next((node for node in self.nodes if node.name == name), None)

    def namespace_of(self, name: str) -> str | None:
        """Namespace of a node, a Pod or ``switch`` by its short name; None if there is none."""
        names = {"switch": self.switch}
        names |= {node.name: node.namespace for node in self.nodes}
        names |= {pod.name: pod.namespace for pod in self.pods}
        return names.get(name)


def plan(spec: Spec) -> Topology:
    """The lab that a spec describes.

    Raises:
        ValueError: the spec cannot be built; one line that names what is out of range.
    """
    _check(spec)
    return Topology(
        spec=spec,
        switch=f"{spec.prefix}-switch",
        nodes=tuple(_node(spec, node) for node in spec.nodes),
        plans=tuple(FAMILY_PLANS[family] for family in spec.families),
    )


def node_specs(*, fwd: int, kernel: int) -> tuple[NodeSpec, ...]:
    """Nodes 1..fwd run fwd, the ``kernel`` nodes after them have the kernel's vxlan device."""
    kinds = [NodeKind.FWD] * fwd + [NodeKind.KERNEL] * kernel
    return tuple(NodeSpec(index, kind) for index, kind in enumerate(kinds, start=1))


def with_node(spec: Spec, name: str | None, kind: NodeKind) -> Spec:
    """The spec with one node more; without a name it has the lowest index that is free.

    Raises:
        ValueError: the name is none of a node, or there is such a node already.
    """
    taken = {node.index for node in spec.nodes}
    if name is None:
        index = next(number for number in range(1, MAX_INDEX + 2) if number not in taken)
    elif match := re.fullmatch(r"n([1-9]\d{0,3})", name):
        index = int(match[1])
    else:
        raise ValueError(f"{name!r} is no name of a node: give n and its index, such as n7")
    if index in taken:
        raise ValueError(f"there is a node n{index} already")
    nodes = sorted([*spec.nodes, NodeSpec(index, kind)], key=lambda node: node.index)
    return replace(spec, nodes=tuple(nodes))


def without_node(spec: Spec, name: str) -> Spec:
    """The spec without a node."""
    return replace(spec, nodes=tuple(node for node in spec.nodes if f"n{node.index}" != name))


def owns(prefix: str, namespace: str) -> bool:
    """Whether a namespace of this name belongs to the lab of this prefix, and to no other lab."""
    return re.fullmatch(rf"{re.escape(prefix)}-(switch|n\d+(-p\d+)?)", namespace) is not None


def _check(spec: Spec) -> None:
    indexes = [node.index for node in spec.nodes]
    if not _PREFIX.fullmatch(spec.prefix):
        # No dash: "a" would then own the namespaces of "a-n1".
        raise ValueError(
            f"prefix {spec.prefix!r} is not 1 to 16 lower-case letters and digits after a letter"
        )
    if not indexes:
        raise ValueError("a lab needs at least one node: give --nodes or --kernel-nodes")
    if not all(1 <= index <= MAX_INDEX for index in indexes) or len(set(indexes)) != len(indexes):
        raise ValueError(f"a lab has at most {MAX_INDEX} nodes, each with an index of its own")
    if not 1 <= spec.pods <= MAX_PODS:
        raise ValueError(f"{spec.pods} Pods on a node: must be between 1 and {MAX_PODS}")
    if not MIN_MTU <= spec.mtu <= MAX_MTU:
        raise ValueError(f"underlay MTU {spec.mtu}: must be between {MIN_MTU} and {MAX_MTU}")
    if spec.families not in FAMILIES.values():
        raise ValueError(f"families {spec.families}: must be 4, 6 or both, in this order")


def _node(spec: Spec, node: NodeSpec) -> Node:
    name = f"n{node.index}"
    pods = (
        Pod(f"{name}-p{pod}", f"{spec.prefix}-{name}-p{pod}", node.index, pod)
        for pod in range(1, spec.pods + 1)
    )
    return Node(
        index=node.index,
        kind=node.kind,
        name=name,
        namespace=f"{spec.prefix}-{name}",
        # Locally administered and unicast, as flannel draws them (spec 5.2), but the same in every
        # run, so that a capture of today reads like one of yesterday.
        mac=f"02:00:00:00:00:{node.index:02x}",
        pods=tuple(pods),
    )
