# SPDX-License-Identifier: Apache-2.0
"""Many routes at once: lookups, and the routes of the main table that are marked as ours.

Theory of operation.  With DirectRouting there may be a route for each of 5,000 peers, and they are
looked at whenever a link changes, as one does for each Pod.  pyroute2 takes 250 us for one of them
(measured); here requests go out in batches and replies are unpacked as far as they are needed.  So
this module speaks rtnetlink by itself: three messages, five attributes (linux/rtnetlink.h).

What is ours is told by the routes' protocol, a number that the kernel keeps and does not interpret.
So an administrator's routes are safe, and what a crashed agent left behind is found.

Everything blocks for some milliseconds: call it in a thread.
"""

import errno
import os
import socket
import struct
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, suppress
from ipaddress import ip_address, ip_network
from typing import Any

from msgspec import Struct

from fwd.model import IPV4, IPV6, Address, Network

PROTOCOL = 86
"""Of none of those in iproute2's rt_protos."""
INTO_TUNNEL = 87
"""Of the route to the network: only it leads into a device of ours."""
BOOT = 3
"""RTPROT_BOOT: what flannel's routes have, and an administrator's who says nothing else."""
BLACKHOLE_METRIC = 4096
"""Behind the connected routes of a bridge, which have 0 (IPv4) and 256 (IPv6)."""

FAMILIES = (IPV4, IPV6)
_AF = {IPV4: socket.AF_INET, IPV6: socket.AF_INET6}
_VERSION: dict[int, int] = {af: version for version, af in _AF.items()}
_HEADER = struct.Struct("=LHHLL")  # nlmsghdr: length, type, flags, sequence, port
_ROUTE = struct.Struct("=8BL")  # rtmsg: family, lengths, tos, table, protocol, scope, type; flags
_ATTRIBUTE = struct.Struct("=HH")  # rtattr: length, type
_NUMBER = struct.Struct("=L")
_ERROR = struct.Struct("=l")

_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_NEW, _DEL, _GET = 24, 25, 26
_REQUEST, _ACK, _DUMP = 0x1, 0x4, 0x300
_EXCL, _CREATE = 0x200, 0x400
_DST, _DEVICE, _GATEWAY, _PRIORITY, _MULTIPATH, _VIA = 1, 4, 5, 6, 9, 18
_MAIN_TABLE = 254
_UNICAST, _BLACKHOLE = 1, 6
_SCOPE_NOWHERE = 255

_SOL_NETLINK, _CAP_ACK, _STRICT_CHECK = 270, 10, 12
_BATCH = 32
"""Requests on their way: their replies fit into the smallest usual receive buffer."""
_RECEIVE_BYTES = 1 << 16
_TIME_LIMIT = 10.0
_NO_ROUTES = (errno.ENOENT, errno.EOPNOTSUPP, errno.EAFNOSUPPORT, errno.ENODEV)
"""None was ever made, the kernel has no such family, or there is no such device."""


class Held(Struct, frozen=True):
    """A route as the kernel has it."""

    prefix: Network
    via: Address | None = None
    blackhole: bool = False
    metric: int = 0
    protocol: int = PROTOCOL
    device: int = 0
    """Its number, where that was asked for."""

    def __str__(self) -> str:
        if self.blackhole:
            return f"blackhole {self.prefix}"
        if self.via is None:
            return f"{self.prefix} into device {self.device}"
        return f"{self.prefix} via {self.via}"


def on_link(addresses: Iterable[Address]) -> set[Address]:
    """Those that the kernel would reach without a gateway.  Raises OSError."""
    asked = list(dict.fromkeys(addresses))
    found = set()
    with _connected() as sock:
        requests = (
            _message(
                _GET, 0, _route(address.version, address.max_prefixlen), [(_DST, address.packed)]
            )
            for address in asked
        )
        for address, (kind, body) in zip(asked, _converse(sock, requests), strict=True):
            if kind == _NEW and _is_direct(body):
                found.add(address)
    return found


def _is_direct(body: memoryview) -> bool:
    attributes = _attributes(body)
    return body[7] == _UNICAST and not attributes.keys() & {_GATEWAY, _VIA, _MULTIPATH}


def held(family: int, *, protocol: int = PROTOCOL) -> list[Held]:
    """The routes that have our mark, or another.  Raises OSError."""
    request = _message(_GET, _DUMP, _route(family, 0, protocol=protocol))
    return [_held(body) for body in _dump(request) if body[5] == protocol]


def through(family: int, index: int) -> list[Held]:
    """The main table's routes into device number `index`.  Raises OSError."""
    device = _NUMBER.pack(index)
    request = _message(_GET, _DUMP, _route(family, 0, table=_MAIN_TABLE), [(_DEVICE, device)])
    return [
        _held(body, device=index)
        for body in _dump(request)
        if body[4] == _MAIN_TABLE and bytes(_attributes(body).get(_DEVICE, b"")) == device
    ]


def _held(body: memoryview, *, device: int = 0) -> Held:
    attributes = _attributes(body)
    family = _VERSION[body[0]]
    packed = bytes(attributes.get(_DST, b"")) or bytes(4 if family == IPV4 else 16)
    gateway, metric = attributes.get(_GATEWAY), attributes.get(_PRIORITY)
    return Held(
        prefix=ip_network((packed, body[1])),
        via=None if gateway is None else ip_address(bytes(gateway)),
        blackhole=body[7] == _BLACKHOLE,
        metric=0 if metric is None else _NUMBER.unpack(metric)[0],
        protocol=body[5],
        device=device,
    )


def put(routes: Mapping[Network, Address]) -> dict[Network, str]:
    """Adds routes by prefix and gateway; never in the place of another.

    Returns those that the kernel refused, and why; the others are in force.  Raises OSError.
    """
    requests = [
        _message(
            _NEW,
            _ACK | _CREATE | _EXCL,
            _route(prefix.version, prefix.prefixlen, protocol=PROTOCOL, kind=_UNICAST),
            [(_DST, prefix.network_address.packed), (_GATEWAY, via.packed)],
        )
        for prefix, via in routes.items()
    ]
    codes = _acknowledged(requests)
    return {prefix: os.strerror(code) for prefix, code in zip(routes, codes, strict=True) if code}


def put_blackhole(prefix: Network) -> bool:
    """Adds a blackhole route behind all others for this prefix.  False: it was there.

    Raises OSError.
    """
    route = _route(prefix.version, prefix.prefixlen, protocol=PROTOCOL, kind=_BLACKHOLE)
    attributes = [
        (_DST, prefix.network_address.packed),
        (_PRIORITY, _NUMBER.pack(BLACKHOLE_METRIC)),
    ]
    (code,) = _acknowledged([_message(_NEW, _ACK | _CREATE | _EXCL, route, attributes)])
    if code not in (0, errno.EEXIST):
        raise OSError(code, f"cannot add blackhole route {prefix}: {os.strerror(code)}")
    return code == 0


def remove(routes: Iterable[Held]) -> None:
    """Removes routes as they were told here; one that is gone is fine.  Raises OSError."""
    doomed = list(routes)
    requests = [
        _message(
            _DEL,
            _ACK,
            _route(
                one.prefix.version,
                one.prefix.prefixlen,
                protocol=one.protocol,
                scope=_SCOPE_NOWHERE,
                kind=_BLACKHOLE if one.blackhole else _UNICAST,
            ),
            [
                (_DST, one.prefix.network_address.packed),
                *([(_PRIORITY, _NUMBER.pack(one.metric))] if one.metric else []),
                *([(_DEVICE, _NUMBER.pack(one.device))] if one.device else []),
            ],
        )
        for one in doomed
    ]
    for one, code in zip(doomed, _acknowledged(requests), strict=True):
        if code not in (0, errno.ESRCH):
            raise OSError(code, f"cannot remove route {one}: {os.strerror(code)}")


def _acknowledged(requests: list[bytes]) -> list[int]:
    """The error number of each, 0 for success."""
    if not requests:
        return []
    with _connected() as sock:
        return [-_ERROR.unpack_from(body)[0] for _, body in _converse(sock, iter(requests))]


def _connected() -> closing[socket.socket]:
    sock = socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
    )
    sock.settimeout(_TIME_LIMIT)
    sock.setsockopt(_SOL_NETLINK, _CAP_ACK, 1)
    filter_in_kernel(sock)
    return closing(sock)


def filter_in_kernel(sock: Any) -> None:  # noqa: ANN401 - a socket, or pyroute2's, without types
    """Has dumps list what was asked for alone; before Linux 4.20 the others come, too."""
    with suppress(OSError):
        sock.setsockopt(_SOL_NETLINK, _STRICT_CHECK, 1)


def _converse(sock: socket.socket, requests: Iterator[bytes]) -> Iterator[tuple[int, memoryview]]:
    """Type and body of the one reply to each request, in order."""
    number = 0
    while batch := [request for _, request in zip(range(_BATCH), requests, strict=False)]:
        first = number
        sock.send(b"".join(_numbered(request, first + n) for n, request in enumerate(batch)))
        number += len(batch)
        expected = first
        while expected < number:
            for kind, sequence, body in _messages(sock.recv(_RECEIVE_BYTES)):
                if sequence != expected:
                    raise OSError(errno.EPROTO, "netlink replies out of order")
                expected += 1
                yield kind, body


def _dump(request: bytes) -> Iterator[memoryview]:
    """Routes; of kernels before 4.20 all, whatever was asked for."""
    with _connected() as sock:
        sock.send(_numbered(request, 1))
        while True:
            for kind, _, body in _messages(sock.recv(_RECEIVE_BYTES)):
                code = -_ERROR.unpack_from(body)[0] if kind in (_NLMSG_ERROR, _NLMSG_DONE) else 0
                if code in _NO_ROUTES:
                    return
                if code:
                    raise OSError(code, f"cannot list routes: {os.strerror(code)}")
                if kind == _NLMSG_DONE:
                    return
                yield body


def _messages(datagram: bytes) -> Iterator[tuple[int, int, memoryview]]:
    """Type, sequence number and body."""
    view = memoryview(datagram)
    while len(view) >= _HEADER.size:
        length, kind, _, sequence, _ = _HEADER.unpack_from(view)
        yield kind, sequence, view[_HEADER.size : length]
        view = view[_aligned(length) :]


def _attributes(body: memoryview) -> dict[int, memoryview]:
    found = {}
    rest = body[_ROUTE.size :]
    while len(rest) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(rest)
        found[kind] = rest[_ATTRIBUTE.size : length]
        rest = rest[_aligned(length) :]
    return found


def _route(
    family: int, length: int, *, protocol: int = 0, scope: int = 0, kind: int = 0, table: int = 0
) -> bytes:
    """An rtmsg.  Table 0 of a lookup or a dump is all of them; what has a protocol is in main."""
    table = table or (_MAIN_TABLE if protocol else 0)
    return _ROUTE.pack(_AF[family], length, 0, 0, table, protocol, scope, kind, 0)


def _message(
    kind: int, flags: int, route: bytes, attributes: Iterable[tuple[int, bytes]] = ()
) -> bytes:
    body = route
    for number, value in attributes:
        body += _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), number) + value
    return _HEADER.pack(_HEADER.size + len(body), kind, _REQUEST | flags, 0, 0) + body


def _numbered(message: bytes, sequence: int) -> bytes:
    return message[:8] + _NUMBER.pack(sequence) + message[12:]


def _aligned(length: int) -> int:
    return (length + 3) & ~3
