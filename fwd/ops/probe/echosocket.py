# SPDX-License-Identifier: Apache-2.0
"""One socket for echo requests of one family: sends, and reads replies and errors, never waiting.

A ping socket where the node lets us have one (net.ipv4.ping_group_range), else a raw one, which
needs CAP_NET_RAW.  The packets have DF set, and are of the asked size whatever the kernel believes
of the path (IP_PMTUDISC_PROBE), so that each says something of the path as it is now.
"""

import errno
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import ip_address
from typing import Self

from msgspec import Struct

from fwd.model import IPV4, IPV6, Address, FwdError
from fwd.ops.probe import wire
from fwd.ops.probe.endpoint import endpoint

_AF = {IPV4: socket.AF_INET, IPV6: socket.AF_INET6}
_PROTOCOL = {IPV4: socket.IPPROTO_ICMP, IPV6: socket.IPPROTO_ICMPV6}
_LEVEL = {IPV4: socket.IPPROTO_IP, IPV6: socket.IPPROTO_IPV6}

# linux/in.h, linux/in6.h, linux/icmp.h, linux/icmpv6.h: Python has no names for them.
_MTU_DISCOVER = {IPV4: 10, IPV6: 23}
_PMTUDISC_PROBE = 3
_RECVERR = {IPV4: 11, IPV6: 25}
_IPV6_DONTFRAG = 62
_SOL_RAW, _ICMP_FILTER = 255, 1
_ICMP6_FILTER = 1

_EXTENDED_ERROR = struct.Struct("=IBBBBII")
"""struct sock_extended_err (linux/errqueue.h): errno, origin, type, code, pad, info, data."""
_ORIGIN_LOCAL = 1
_OFFENDER_OFFSET = {IPV4: 4, IPV6: 8}
"""Of the address in the sockaddr behind it."""
_BUFFER = 1 << 16
_RECEIVE_BUFFER = 1 << 20
_MOST_AT_ONCE = 256
"""Packets in one go: the loop has others to serve."""


class Told(Struct, frozen=True):
    """An answer: a reply, or an error of the way about a request."""

    sequence: int
    nonce: bytes
    sender: Address | None
    """None: an error of this node's own."""
    error: int = 0
    """errno; 0: a reply."""
    mtu: int = 0
    """With EMSGSIZE: what would pass."""


class EchoSocket:
    """An open socket, until close()."""

    def __init__(self, sock: socket.socket, family: int, *, scope: int) -> None:
        self.family = family
        self._scope = scope
        self._sock = sock
        self._raw = sock.type == socket.SOCK_RAW

    @property
    def kind(self) -> str:
        """`ping`, which needs no rights, or `raw`."""
        return "raw" if self._raw else "ping"

    @classmethod
    def open(
        cls,
        family: int,
        *,
        source: Address | None = None,
        scope: int = 0,
        device: str | None = None,
    ) -> Self:
        """`source` is the address to send from, `device` the only one to send through.

        `scope` is the number of the interface that link-local addresses are of.
        Raises FwdError where this process may have no such socket, OSError for the rest.
        """
        sock = _open(family)
        try:
            _configure(sock, family)
            if device is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
            sock.bind(("", 0) if source is None else endpoint(source, 0, scope=scope))
        except BaseException:
            sock.close()
            raise
        return cls(sock, family, scope=scope)

    def fileno(self) -> int:
        """For an event loop."""
        return self._sock.fileno()

    def send(self, address: Address, *, sequence: int, nonce: bytes, size: int) -> int:
        """Sends one request of `size` bytes, IP header included; returns 0 or an errno."""
        packet = wire.request(self.family, sequence=sequence, nonce=nonce, size=size)
        try:
            self._sock.sendto(packet, endpoint(address, 0, scope=self._scope))
        except OSError as error:
            return error.errno or errno.EIO
        return 0

    def packet(
        self, source: Address, destination: Address, *, sequence: int, nonce: bytes, size: int
    ) -> bytes:
        """A whole packet, for others to send, whose reply comes to this socket."""
        identifier = 0 if self._raw else self._sock.getsockname()[1]
        return wire.packet(
            source, destination, identifier=identifier, sequence=sequence, nonce=nonce, size=size
        )

    def answers(self) -> Iterator[Told]:
        """What has arrived."""
        yield from self._errors()
        for _ in range(_MOST_AT_ONCE):
            try:
                packet, sender = self._sock.recvfrom(_BUFFER)
            except BlockingIOError:
                return
            except OSError:
                continue  # an error of a request, which is in the queue of errors as well
            if self._raw and self.family == IPV4:
                packet = wire.without_ip_header(packet)
            if found := wire.parse_reply(self.family, packet):
                yield Told(found.sequence, found.nonce, _address(sender[0]))

    def _errors(self) -> Iterator[Told]:
        for _ in range(_MOST_AT_ONCE):
            try:
                packet, notes, _, _ = self._sock.recvmsg(
                    _BUFFER, socket.CMSG_SPACE(64), socket.MSG_ERRQUEUE
                )
            except OSError:  # no more of them
                return
            found = wire.parse_request(self.family, packet)
            wanted = (_LEVEL[self.family], _RECVERR[self.family])
            for level, kind, data in notes:
                if found and (level, kind) == wanted and len(data) >= _EXTENDED_ERROR.size:
                    yield _told(self.family, found, data)

    def close(self) -> None:
        """May be called again."""
        self._sock.close()


def _open(family: int) -> socket.socket:
    refused: OSError | None = None
    for kind in (socket.SOCK_DGRAM, socket.SOCK_RAW):
        try:
            return socket.socket(_AF[family], kind | socket.SOCK_NONBLOCK, _PROTOCOL[family])
        except OSError as error:
            refused = error
    assert refused is not None
    if refused.errno in {errno.EPERM, errno.EACCES}:
        raise FwdError(
            "cannot send ICMP echo requests: it needs CAP_NET_RAW, or this group within "
            'net.ipv4.ping_group_range (sysctl -w net.ipv4.ping_group_range="0 2147483647")'
        ) from refused
    raise FwdError(
        f"cannot send ICMP echo requests: {os.strerror(refused.errno or 0)}"
    ) from refused


def _configure(sock: socket.socket, family: int) -> None:
    level = _LEVEL[family]
    sock.setsockopt(level, _MTU_DISCOVER[family], _PMTUDISC_PROBE)
    sock.setsockopt(level, _RECVERR[family], 1)
    with suppress(OSError):  # rather lose some replies than have none
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
    if family == IPV6:
        sock.setsockopt(level, _IPV6_DONTFRAG, 1)
    if sock.type == socket.SOCK_RAW:  # nothing but replies; a set bit is a type that is left out
        reply = wire.REPLY[family]
        if family == IPV4:
            others = 0xFFFFFFFF & ~(1 << reply)
            sock.setsockopt(_SOL_RAW, _ICMP_FILTER, struct.pack("=I", others))
        else:
            words = [0xFFFFFFFF] * 8
            words[reply >> 5] &= ~(1 << (reply & 31))
            sock.setsockopt(socket.IPPROTO_ICMPV6, _ICMP6_FILTER, struct.pack("=8I", *words))


def _told(family: int, about: wire.Reply, data: bytes) -> Told:
    """About a request: one error of the queue."""
    code, origin, _, _, _, info, _ = _EXTENDED_ERROR.unpack_from(data)
    start = _EXTENDED_ERROR.size + _OFFENDER_OFFSET[family]
    length = 4 if family == IPV4 else 16
    offender = data[start : start + length]
    known = origin != _ORIGIN_LOCAL and len(offender) == length
    return Told(
        about.sequence,
        about.nonce,
        sender=ip_address(offender) if known else None,
        error=code,
        mtu=info if code == errno.EMSGSIZE else 0,
    )


def _address(text: str) -> Address:
    return ip_address(text.partition("%")[0])
