# SPDX-License-Identifier: Apache-2.0
"""Datagrams put on the underlay by hand, from a node's address or from a stranger's."""

import socket
import struct
import time
from collections.abc import Sequence
from typing import Final, Self

from tests.netns import frames
from tests.netns.sockets import IP_OPTIONS, SOL_UDP, UDP_NO_CHECK6_TX, UDP_SEGMENT, udp_in
from tests.netns.topo import Net
from tests.netns.traffic import paced

PORT: Final = 8472
STRANGER: Final = {4: "192.168.50.200/24", 6: "fd00:50::c8/64"}
_SEGMENTS: Final = 50  # in one send: below the kernel's 64


def let_in_stranger(net: Net) -> str:
    """A host on the underlay that is no node; its address."""
    address, nodad = STRANGER[net.family], " nodad" * (net.family == 6)
    net.ip(net.switch, f"addr replace {address} dev br0{nodad}")
    return address.partition("/")[0]


class Injector:
    """A socket from which a node is sent datagrams to; `stranger`: with an address of no node."""

    def __init__(self, net: Net, target: int, *, sender: int = 3, stranger: bool = False) -> None:
        self.net = net
        self._target = net.node(target)
        self._sender = net.node(sender)
        if stranger:
            self._sock = udp_in(net.switch, let_in_stranger(net))
        else:
            self._sock = udp_in(self._sender.namespace, net.underlay(sender))
        self._sock.connect((net.underlay(target), PORT))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._sock.close()

    def tos(self, value: int) -> None:
        """Outer TOS of what is sent from now on."""
        options = IP_OPTIONS[self.net.family]
        self._sock.setsockopt(options.level, options.tos, value)

    def inner(  # noqa: PLR0913 - a header has that many fields
        self,
        payload: bytes,
        *,
        port: int = 9,
        source: str | None = None,
        target: str | None = None,
        tos: int = 0,
        ihl: int = 5,
        total: int | None = None,
        options: bytes = b"",
    ) -> bytes:
        """An IP packet to the target's first Pod from the sender's, unless told otherwise."""
        from_pod = source or self.net.address(self.net.pod(self._sender.index))
        to_pod = target or self.net.address(self.net.pod(self._target.index))
        datagram = frames.udp(from_pod, to_pod, (1111, port), payload)
        # Under DF equal ids mean nothing (RFC 6864), so that copies of a packet may be merged.
        return frames.ip(
            from_pod,
            to_pod,
            datagram,
            tos=tos,
            ihl=ihl,
            total=total,
            options=options,
            fragment=frames.DONT_FRAGMENT,
        )

    def encapsulated(
        self,
        packet: bytes,
        *,
        target: str | None = None,
        source: str | None = None,
        vni: int = 1,
        flags: int = 0x08,
        ethertype: int | None = None,
    ) -> bytes:
        """A VXLAN datagram as the sender's node would make it, but for what is told."""
        return frames.vxlan(
            packet,
            target=target or self._target.mac,
            source=source or self._sender.mac,
            vni=vni,
            flags=flags,
            ethertype=ethertype or frames.ETHERTYPE[self.net.family],
        )

    def without_checksum(self, datagram: bytes) -> None:
        """Sends it with an outer UDP checksum of zero."""
        for value in (1, 0):
            self._sock.setsockopt(socket.IPPROTO_UDP, UDP_NO_CHECK6_TX, value)
            if value:
                self._sock.send(datagram)

    def send(self, datagram: bytes, count: int = 1) -> None:
        """Sends it count times, one by one."""
        paced(self._sock.send, [datagram] * count)

    def send_merged(self, datagram: bytes, count: int, *, then: bytes = b"") -> None:
        """Sends it count times as the receiver's GRO would hand it on: many in one message.

        `then` is one more datagram at the end of each message, not longer than the others.
        """
        assert count % _SEGMENTS == 0
        control = [(SOL_UDP, UDP_SEGMENT, struct.pack("H", len(datagram)))]
        batch = datagram * _SEGMENTS + then
        paced(lambda data: self._sock.sendmsg([data], control), [batch] * (count // _SEGMENTS))

    def flood(self, datagrams: Sequence[bytes], seconds: float) -> int:
        """Each in turn, many in a message, as fast as it goes; how many datagrams in all."""
        sent, end = 0, time.monotonic() + seconds
        while time.monotonic() < end:
            for datagram in datagrams:
                control = [(SOL_UDP, UDP_SEGMENT, struct.pack("H", len(datagram)))]
                self._sock.sendmsg([datagram * _SEGMENTS], control)
                sent += _SEGMENTS
        return sent
