# SPDX-License-Identifier: Apache-2.0
"""A plane's descriptors and what they were opened for: what one process leaves to the next.

Whoever receives them believes nothing that the kernel does not confirm: a TUN queue says which
device it is of, a socket where it is bound.
"""

import socket
from ipaddress import ip_address
from itertools import islice

from fwd.core import handovertalk as talk
from fwd.model import IPV4
from fwd.plane import Descriptors, Offload, Plane, PlaneSettings, SourceCheck, device_of
from fwd.plane.settings import MOST_QUEUES_OF_EACH, MOST_WORKERS

_IFF_TUN, _IFF_TAP, _IFF_VNET_HDR, _IFF_MULTI_QUEUE = 0x0001, 0x0002, 0x4000, 0x0100


def describe(plane: Plane) -> talk.Kit:
    """The message for a plane; its descriptors go beside it, in `Descriptors.all`'s order."""
    settings, descriptors = plane.settings, plane.descriptors
    return talk.Kit(
        device=settings.device,
        family=settings.family,
        mac=settings.mac,
        local=str(settings.local),
        vni=settings.vni,
        port=settings.port,
        mtu=settings.mtu,
        workers=settings.workers,
        offloads=int(settings.offloads),
        granted=int(descriptors.granted),
        queues=len(descriptors.tun),
        sources=len(descriptors.source),
        taps=len(descriptors.tap),
        receivers=len(descriptors.listen),
        source_check=int(settings.source_check),
        icmp_rate=settings.icmp_rate,
        scope=settings.scope,
        cpus=settings.cpus,
        spin_us=settings.spin_us,
    )


def settings_of(kit: talk.Kit) -> PlaneSettings:
    """What the plane was made for.  ValueError if that cannot be."""
    return PlaneSettings(
        device=kit.device,
        family=kit.family,
        mac=kit.mac,
        local=ip_address(kit.local),
        vni=kit.vni,
        port=kit.port,
        mtu=kit.mtu,
        workers=kit.workers,
        source_check=SourceCheck(kit.source_check),
        offloads=Offload(kit.offloads),
        icmp_rate=kit.icmp_rate,
        scope=kit.scope,
        cpus=kit.cpus,
        spin_us=kit.spin_us,
        sources=kit.sources,
    )


def sort_out(kit: talk.Kit, fds: list[int]) -> Descriptors:
    """The descriptors that came beside a kit.  ValueError if they are not what it says."""
    receivers = max(1, kit.receivers or kit.queues)
    counts = (kit.queues, receivers, kit.sources, kit.taps)
    each, left_over = divmod(kit.queues, receivers)
    if left_over or not 1 <= each <= MOST_QUEUES_OF_EACH or receivers > MOST_WORKERS:
        raise ValueError(f"{kit.device}: {kit.queues} queues for {receivers} workers")
    if kit.sources < 1 or kit.taps not in (0, 1):
        raise ValueError(f"{kit.device}: {kit.sources} sending sockets, {kit.taps} TAPs")
    if len(fds) != sum(counts):
        raise ValueError(f"{kit.device}: {len(fds)} descriptors for {kit.queues} queues")
    left = iter(fds)
    tun, listen, source, tap = (tuple(islice(left, count)) for count in counts)
    descriptors = Descriptors(
        tun=tun,
        listen=listen,
        source=source,
        tap=tap,
        granted=Offload(kit.granted),
    )
    kind = _IFF_TUN
    kind |= _IFF_VNET_HDR if Offload.VNET_HDR in descriptors.granted else 0
    kind |= _IFF_MULTI_QUEUE if Offload.MULTI_QUEUE in descriptors.granted else 0
    for fd in descriptors.tun:
        _check_queue(kit, fd, device=kit.device, kind=kind)
    for fd in descriptors.tap:
        _check_queue(kit, fd, device=settings_of(kit).tap, kind=_IFF_TAP | _IFF_VNET_HDR)
    for fd in descriptors.listen:
        _check_socket(kit, fd, port=kit.port)
    for fd in descriptors.source:
        _check_socket(kit, fd)
    return descriptors


def why_not(kit: talk.Kit, settings: PlaneSettings) -> str | None:
    """Why its descriptors are of no use for these settings; None if they are.

    Whatever is not in the descriptors (VNI, MAC, MTU, source check) may differ.
    """
    has = (kit.family, kit.local, kit.scope, kit.port, kit.workers, kit.offloads, kit.sources)
    wants = (
        settings.family,
        str(settings.local),
        settings.scope,
        settings.port,
        settings.workers,
        int(settings.offloads),
        settings.sources,
    )
    names = ("family", "address", "interface", "port", "workers", "offloads", "sources")
    differ = [name for name, a, b in zip(names, has, wants, strict=True) if a != b]
    return f"another {', another '.join(differ)}" if differ else None


def _check_queue(kit: talk.Kit, fd: int, *, device: str, kind: int) -> None:
    """Of this device, in this namespace or not at all: a deleted one says EBADFD."""
    try:
        name, flags = device_of(fd)
    except OSError as error:
        raise ValueError(f"{kit.device}: a queue that is none: {error.strerror}") from error
    have = flags & (_IFF_TUN | _IFF_TAP | _IFF_VNET_HDR | _IFF_MULTI_QUEUE)
    if name != device or have != kind:
        raise ValueError(f"{kit.device}: a queue of another device or kind")


def _check_socket(kit: talk.Kit, fd: int, *, port: int | None = None) -> None:
    """A UDP socket, bound where the kit says."""
    try:
        sock = socket.socket(fileno=fd)
    except OSError:
        right = False
    else:
        right = _is_bound(sock, kit, port)
        sock.detach()  # the descriptor stays the caller's
    if not right:
        raise ValueError(f"{kit.device}: a socket that is not bound to {kit.local}")


def _is_bound(sock: socket.socket, kit: talk.Kit, port: int | None) -> bool:
    family = socket.AF_INET if kit.family == IPV4 else socket.AF_INET6
    if sock.family != family or sock.type != socket.SOCK_DGRAM:
        return False
    try:
        name = sock.getsockname()
        here = ip_address(name[0].partition("%")[0]) == ip_address(kit.local)
    except (OSError, ValueError):
        return False
    return here and port in (None, name[1])
