# SPDX-License-Identifier: Apache-2.0
"""What is compared: data planes, each in a lab of two nodes with two Pods.

Everything around the data plane is the lab's and the same for all: veths, bridges, addresses, MTU,
flannel's firewall rules.  Only ``kernel`` and ``mixed`` need a kernel with vxlan.  ``uncut`` is fwd
with --tunnel-gso.
``routed`` is what is left when there is no tunnel, the ceiling; ``proxy`` is the plainest userspace
tunnel, one packet a system call, in threads of this process (``cext/traffic/proxy.c``); ``relay``
is the same with super-packets and without a protocol: what TUN and UDP sockets cost by themselves.
"""

import contextlib
import enum
import fcntl
import os
import socket
import struct
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

from msgspec import Struct

from fwd.bench import links, openvswitch, traffic, wireguard
from fwd.lab import lab, netns, signals, state, steps, survey, topology
from fwd.lab.errors import LabError
from fwd.lab.probes import Route
from fwd.lab.state import State, StateDir
from fwd.lab.topology import Node, NodeKind, NodeSpec, Spec, Topology, Wiring
from fwd.lab.underlay import UPLINK

Say = Callable[[str], None]

BASELINE: Final = "kernel"
"""What ratios are to."""
PODS: Final = 2  # one for a flood, one beside it

_PROXY_DEVICE: Final = "proxy0"
_PROXY_PORT: Final = 8473  # not 8472: what it carries is no VXLAN
_PROXY_QUEUE: Final = 2000  # packets; as fwd's TUN has
_IFREQ: Final = struct.Struct("16sH22x")  # linux/if.h
_TUNSETIFF: Final = 0x400454CA  # linux/if_tun.h
_TUNSETOFFLOAD: Final = 0x400454D0
_IFF_TUN_NO_PI: Final = 0x1001
_IFF_VNET_HDR: Final = 0x4000
_OFFLOADS: Final = 0x67  # TUN_F_CSUM, TSO4, TSO6, USO4, USO6
_UDP_SEGMENT, _UDP_GRO = 103, 104  # linux/udp.h
_UDP_HEADERS: Final = {4: 28, 6: 48}  # bytes, with IP's
# Bytes of a super-packet that fit a datagram.  TCP makes them up to 65,287 long, as its segments
# happen to fill that, and a longer one than this the kernel would cut before the TUN.
_MESSAGE: Final = 65_400
_SETTLE_LIMIT: Final = 5.0  # seconds until the first round trip


class DataPlane(enum.Enum):
    """What carries packets between the nodes once the lab is built."""

    LAB = "as the lab builds it"
    ROUTED = "routes over the underlay"
    PROXY = "one packet a system call"
    RELAY = "super-packets without a protocol"
    WIREGUARD = "wireguard-go"
    OPENVSWITCH = "Open vSwitch in userspace"


class Shape(Struct, frozen=True):
    """What all labs of a bench have in common; of several families the first is measured."""

    prefix: str
    mtu: int
    families: tuple[int, ...]
    wiring: Wiring


class Contender(Struct, frozen=True):
    """One data plane; ``letter`` ends its lab's prefix."""

    name: str
    letter: str
    kinds: tuple[NodeKind, NodeKind]
    data_plane: DataPlane = DataPlane.LAB
    run_args: tuple[str, ...] = ()


_FWD, _KERNEL, _BARE = NodeKind.FWD, NodeKind.KERNEL, NodeKind.BARE
KNOWN: Final = {
    one.name: one
    for one in (
        Contender("fwd", "f", (_FWD, _FWD)),
        Contender(BASELINE, "k", (_KERNEL, _KERNEL)),
        Contender("routed", "r", (_BARE, _BARE), DataPlane.ROUTED),
        Contender("mixed", "m", (_FWD, _KERNEL)),
        Contender("uncut", "u", (_FWD, _FWD), run_args=("--tunnel-gso",)),
        Contender("proxy", "p", (_BARE, _BARE), DataPlane.PROXY),
        Contender("relay", "y", (_BARE, _BARE), DataPlane.RELAY),
        Contender("wireguard-go", "w", (_BARE, _BARE), DataPlane.WIREGUARD),
        Contender("openvswitch", "o", (_BARE, _BARE), DataPlane.OPENVSWITCH),
    )
}


def takes_part(contender: Contender, underlay: str) -> bool:
    """Whether it carries anything there: a relay's pieces are no packets."""
    return contender.data_plane is not DataPlane.RELAY or underlay == links.ON


class Running(Struct, frozen=True):
    """A contender that carries packets, from its first node to its second."""

    contender: Contender
    topology: Topology
    state_dir: StateDir

    def path(self, pod: int = 1) -> Route:
        """From a Pod of the first node to one of the second."""
        source, target = self.topology.nodes
        return self._route(source, target, pod=pod)

    def back(self, pod: int = 1) -> Route:
        """The other way."""
        source, target = self.topology.nodes
        return self._route(target, source, pod=pod)

    def ended(self) -> list[str]:
        """Of each agent of its that has ended: which, how, and what it said last."""
        found = self.state_dir.load()
        if not isinstance(found, State):
            return []
        return survey.ended(self.topology, found, state_dir=self.state_dir)

    def _route(self, source: Node, target: Node, *, pod: int) -> Route:
        plan = self.topology.plans[0]
        return Route(
            source=source.pods[pod - 1].namespace,
            target=target.pods[pod - 1].namespace,
            address=str(plan.pod(target.index, pod).ip),
            family=plan.family,
            mtu=self.topology.path_mtu(plan.family),
        )


@contextlib.contextmanager
def built(contender: Contender, shape: Shape, *, say: Say) -> Iterator[Running]:
    """A contender for as long as the context lasts; what an earlier run left behind goes first.

    Raises:
        LabError: it cannot be built here, or carries nothing.
    """
    spec = Spec(
        prefix=shape.prefix + contender.letter,
        nodes=tuple(NodeSpec(index, kind) for index, kind in enumerate(contender.kinds, start=1)),
        pods=PODS,
        mtu=shape.mtu,
        families=shape.families,
        run_args=contender.run_args,
        wiring=shape.wiring,
    )
    try:
        plan = topology.plan(spec)
    except ValueError as error:
        raise LabError(str(error)) from error
    directory = state.default(spec.prefix)
    with directory.locked(), contextlib.ExitStack() as stack:
        try:
            lab.remove(spec.prefix, directory)
            lab.up(plan, directory, say=lambda what: say(f"{contender.name}: {what}"))
            stack.enter_context(_SET_UP[contender.data_plane](plan))
            running = Running(contender, plan, directory)
            _settle(running)
            yield running
        finally:
            with signals.shielded():
                stack.close()
                lab.remove(spec.prefix, directory)


def _settle(running: Running) -> None:
    """Neighbours are resolved and caches filled before anything counts."""
    for path in (running.path(1), running.path(2), running.back(1)):
        deadline = time.monotonic() + _SETTLE_LIMIT
        while True:
            try:
                tried = traffic.round_trips(path, kind=socket.SOCK_STREAM, size=64, seconds=0.05)
            except OSError:
                tried = None
            if tried and tried.ns:
                break
            if time.monotonic() > deadline:
                raise LabError(f"{running.contender.name}: no answer from {path.address}")


@contextlib.contextmanager
def _as_built(_: Topology) -> Iterator[None]:
    yield


@contextlib.contextmanager
def _routed(running: Topology) -> Iterator[None]:
    for node, peer in _ends(running):
        for plan in running.plans:
            gateway = plan.node(peer.index).ip
            line = f"route replace {plan.subnet(peer.index)} via {gateway} dev {UPLINK}"
            # Packets as long as a tunnel's; locked, since else a route's MTU is not for forwarding.
            line += f" mtu lock {running.path_mtu(plan.family)}"
            netns.apply(node.namespace, [steps.ip(line)])
    yield


@contextlib.contextmanager
def _proxied(running: Topology, *, whole: bool = False) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for node, peer in _ends(running):
            tun = traffic.inside(node.namespace, partial(_open_tun, whole=whole))
            stack.callback(os.close, tun)
            udp = stack.enter_context(_proxy_socket(running, node, peer))
            if whole:
                headers = _UDP_HEADERS[running.plans[0].family]
                udp.setsockopt(socket.SOL_UDP, _UDP_SEGMENT, running.spec.mtu - headers)
                udp.setsockopt(socket.SOL_UDP, _UDP_GRO, 1)
            mtu = running.path_mtu(running.plans[0].family)
            lines = [f"link set {_PROXY_DEVICE} mtu {mtu} txqueuelen {_PROXY_QUEUE} up"]
            if whole:
                lines.append(f"link set {_PROXY_DEVICE} gso_max_size {_MESSAGE}")
            lines += [
                f"route replace {plan.subnet(peer.index)} dev {_PROXY_DEVICE}"
                for plan in running.plans
            ]
            netns.apply(node.namespace, [steps.ip(line) for line in lines])
            stack.enter_context(traffic.tunnel(tun, udp, whole=whole))
        yield


def _open_tun(*, whole: bool) -> int:
    flags = _IFF_TUN_NO_PI | (_IFF_VNET_HDR if whole else 0)
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.ioctl(fd, _TUNSETIFF, _IFREQ.pack(_PROXY_DEVICE.encode(), flags))
        if whole:
            fcntl.ioctl(fd, _TUNSETOFFLOAD, _OFFLOADS)
    except OSError:
        os.close(fd)
        raise
    return fd


def _proxy_socket(running: Topology, node: Node, peer: Node) -> socket.socket:
    plan = running.plans[0]
    ends = Route(
        source=node.namespace,
        target=node.namespace,
        address=str(plan.node(node.index).ip),
        family=plan.family,
        mtu=running.spec.mtu,
    )
    sock = traffic.bound(ends, socket.SOCK_DGRAM, port=_PROXY_PORT)
    sock.connect((str(plan.node(peer.index).ip), _PROXY_PORT))
    sock.setblocking(False)
    return sock


def _ends(running: Topology) -> tuple[tuple[Node, Node], tuple[Node, Node]]:
    one, other = running.nodes
    return ((one, other), (other, one))


_SET_UP: Final[dict[DataPlane, Callable[[Topology], contextlib.AbstractContextManager[None]]]] = {
    DataPlane.LAB: _as_built,
    DataPlane.ROUTED: _routed,
    DataPlane.PROXY: _proxied,
    DataPlane.RELAY: partial(_proxied, whole=True),
    DataPlane.WIREGUARD: wireguard.between,
    DataPlane.OPENVSWITCH: openvswitch.between,
}
