# SPDX-License-Identifier: Apache-2.0
"""Records of single packets as the data plane writes them (cext/api.h, struct vx_record)."""

import struct
from collections.abc import Iterator
from enum import IntEnum
from ipaddress import ip_address

from msgspec import Struct

from fwd.model import IPV4, Address

RECORD = struct.Struct("=IIIIQHHBB2x16s")
PASSED = 0xFFFF
"""The verdict of a packet that was not dropped; any other is the index of a drop counter."""


class Point(IntEnum):
    """Where a packet is seen."""

    FROM_TUN = 0
    TO_UNDERLAY = 1
    FROM_UNDERLAY = 2
    TO_TUN = 3

    @property
    def is_outer(self) -> bool:
        """Whether the record has VXLAN and Ethernet headers before the inner packet."""
        return self in {Point.TO_UNDERLAY, Point.FROM_UNDERLAY}

    @property
    def is_inbound(self) -> bool:
        """On its way from another node to a Pod."""
        return self in {Point.FROM_UNDERLAY, Point.TO_TUN}


class PacketRecord(Struct, frozen=True):
    """One packet, at one point of its way."""

    time_ns: int
    """Since 1970."""
    point: Point
    verdict: int
    length: int
    """Of the whole packet; `data` has the first bytes of it."""
    data: bytes
    packets: int
    """On the wire that it stands for: a super-packet is many."""
    outer: Address | None
    """The other node's underlay address."""
    port: int
    """Outer source port; 0: not known."""
    tos: int
    """Of the outer header."""


def parse_records(data: bytes, *, family: int) -> Iterator[PacketRecord]:
    """All records in a buffer of whole ones."""
    view = memoryview(data)
    at = 0
    while at < len(view):
        size, length, kept, packets, time, verdict, port, point, tos, outer = RECORD.unpack_from(
            view, at
        )
        start = at + RECORD.size
        address = outer[:4] if family == IPV4 else outer
        yield PacketRecord(
            time_ns=time,
            point=Point(point),
            verdict=verdict,
            length=length,
            data=bytes(view[start : start + kept]),
            packets=packets,
            outer=ip_address(address) if any(address) else None,
            port=port,
            tos=tos,
        )
        at += size
