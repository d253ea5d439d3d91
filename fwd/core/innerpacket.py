# SPDX-License-Identifier: Apache-2.0
"""What people are told of an inner packet: addresses, protocol and ports, from its first bytes.

Not the data plane's parser (cext/pkt.c): this one reads what that one has refused, too, as far as
it can be read.
"""

from ipaddress import ip_address

from msgspec import Struct

from fwd.core.packetrecord import PacketRecord
from fwd.model import IPV4, IPV6, Address

OVERLAY_BYTES = 22
"""VXLAN and Ethernet headers, which stand before the inner packet in an outer one."""
_NAMES = {1: "icmp", 2: "igmp", 6: "tcp", 17: "udp", 58: "icmp6", 132: "sctp"}
_WITH_PORTS = {6, 17, 132}
_HEADER_BYTES = {IPV4: 20, IPV6: 40}
_NEXT_HEADERS = {0, 43, 60}
"""IPv6: hop-by-hop, routing, destination options (RFC 8200, 4.1)."""
_FRAGMENT = 44


class InnerPacket(Struct, frozen=True):
    """Ports are None where there are none, or where they cannot be read."""

    src: Address
    dst: Address
    proto: int
    sport: int | None = None
    dport: int | None = None

    @property
    def protocol(self) -> str:
        """By name, where it has one."""
        return _NAMES.get(self.proto, f"proto {self.proto}")

    def __str__(self) -> str:
        return (
            f"{_with_port(self.src, self.sport)} > {_with_port(self.dst, self.dport)} "
            f"{self.protocol}"
        )


def inner_bytes(record: PacketRecord) -> bytes:
    """The inner packet's part of a record, from its IP header on."""
    return record.data[OVERLAY_BYTES:] if record.point.is_outer else record.data


def parse_inner(packet: bytes) -> InnerPacket | None:
    """None if not even an IP header is there."""
    version = packet[0] >> 4 if packet else 0
    if len(packet) < _HEADER_BYTES.get(version, 1 << 16):
        return None
    if version == IPV4:
        proto, start = packet[9], (packet[0] & 0x0F) * 4
        src, dst = ip_address(packet[12:16]), ip_address(packet[16:20])
        first = int.from_bytes(packet[6:8]) & 0x1FFF == 0
    else:
        src, dst = ip_address(packet[8:24]), ip_address(packet[24:40])
        proto, start, first = _upper_layer(packet)
    sport = dport = None
    if first and proto in _WITH_PORTS and len(packet) >= start + 4:
        sport, dport = (int.from_bytes(packet[at : at + 2]) for at in (start, start + 2))
    return InnerPacket(src, dst, proto, sport, dport)


def _upper_layer(packet: bytes) -> tuple[int, int, bool]:
    """Protocol, offset, and whether it is a first fragment or none."""
    proto, at = packet[6], _HEADER_BYTES[IPV6]
    while len(packet) >= at + 8:
        if proto == _FRAGMENT:
            return packet[at], at + 8, int.from_bytes(packet[at + 2 : at + 4]) >> 3 == 0
        if proto not in _NEXT_HEADERS:
            break
        proto, at = packet[at], at + 8 * (packet[at + 1] + 1)
    return proto, at, True


def _with_port(address: Address, port: int | None) -> str:
    if port is None:
        return str(address)
    return f"{address}:{port}" if address.version == IPV4 else f"[{address}]:{port}"
