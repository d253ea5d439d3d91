# SPDX-License-Identifier: Apache-2.0
"""Frames made and read with struct, from the RFCs and not from cext: what tests inject and capture.

IPv4 only.  Addresses are text, numbers are host integers.
"""

import struct
from ipaddress import IPv4Address
from typing import Final

from msgspec import Struct

UDP: Final = 17
TCP: Final = 6
ICMP: Final = 1

NOT_ECT, ECT_1, ECT_0, CE = 0, 1, 2, 3

DONT_FRAGMENT: Final = 0x4000
_ETHERTYPE_IP: Final = 0x0800


def checksum(data: bytes) -> int:
    """RFC 1071."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def pseudo(source: str, target: str, protocol: int, length: int) -> bytes:
    """The pseudo-header of RFC 768 and RFC 9293, 3.1."""
    addresses = IPv4Address(source).packed + IPv4Address(target).packed
    return addresses + struct.pack("!BBH", 0, protocol, length)


def udp(source: str, target: str, ports: tuple[int, int], payload: bytes) -> bytes:
    """A UDP datagram with its checksum."""
    length = 8 + len(payload)
    header = struct.pack("!HHHH", *ports, length, 0)
    csum = checksum(pseudo(source, target, UDP, length) + header + payload) or 0xFFFF
    return header[:6] + struct.pack("!H", csum) + payload


def ip(  # noqa: PLR0913 - a header has that many fields
    source: str,
    target: str,
    payload: bytes,
    *,
    protocol: int = UDP,
    tos: int = 0,
    ihl: int = 5,
    total: int | None = None,
    fragment: int = 0,
) -> bytes:
    """An IPv4 packet; ihl and total may be wrong, the header checksum is right all the same."""
    header = struct.pack(
        "!BBHHHBBH4s4s",
        0x40 | ihl,
        tos,
        20 + len(payload) if total is None else total,
        1,
        fragment,
        64,
        protocol,
        0,
        IPv4Address(source).packed,
        IPv4Address(target).packed,
    )
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + payload


def mac(text: str) -> bytes:
    """Six bytes of a MAC address."""
    return bytes.fromhex(text.replace(":", ""))


def vxlan(
    packet: bytes,
    *,
    target: str,
    source: str,
    vni: int = 1,
    flags: int = 0x08,
    ethertype: int = _ETHERTYPE_IP,
) -> bytes:
    """The payload of an outer UDP datagram (RFC 7348, 5); target and source are MACs."""
    header = struct.pack("!II", flags << 24, vni << 8)
    return header + mac(target) + mac(source) + struct.pack("!H", ethertype) + packet


class Packet(Struct, frozen=True):
    """An IPv4 packet that was captured; payload is what follows its header."""

    source: str
    target: str
    protocol: int
    tos: int
    ttl: int
    dont_fragment: bool
    fragment: bool
    payload: bytes
    header: bytes

    @property
    def ecn(self) -> int:
        """The two low bits of the TOS."""
        return self.tos & 3

    @property
    def ports(self) -> tuple[int, int]:
        """Source and destination port, of TCP or UDP."""
        source, target = struct.unpack_from("!HH", self.payload)
        return int(source), int(target)

    @property
    def checksum(self) -> int:
        """What stands in the TCP or UDP header."""
        at = 16 if self.protocol == TCP else 6
        return int(struct.unpack_from("!H", self.payload, at)[0])

    @property
    def pseudo(self) -> bytes:
        """The pseudo-header that belongs to the payload."""
        return pseudo(self.source, self.target, self.protocol, len(self.payload))

    @property
    def is_intact(self) -> bool:
        """Whether both checksums are right."""
        return checksum(self.header) == 0 and checksum(self.pseudo + self.payload) == 0

    @property
    def is_unfinished(self) -> bool:
        """Whether the TCP or UDP checksum is the sum of the pseudo-header and nothing else."""
        return self.checksum == checksum(self.pseudo) ^ 0xFFFF


def parse_ip(data: bytes) -> Packet | None:
    """The IPv4 packet that data begins with; None if it is another protocol."""
    if len(data) < 20 or data[0] >> 4 != 4:
        return None
    total, fragment = struct.unpack_from("!H", data, 2)[0], struct.unpack_from("!H", data, 6)[0]
    length = (data[0] & 15) * 4
    return Packet(
        source=str(IPv4Address(data[12:16])),
        target=str(IPv4Address(data[16:20])),
        protocol=data[9],
        tos=data[1],
        ttl=data[8],
        dont_fragment=bool(fragment & DONT_FRAGMENT),
        fragment=bool(fragment & 0x3FFF),
        payload=data[length:total],
        header=data[:length],
    )


class Tunnelled(Struct, frozen=True):
    """A VXLAN datagram that was captured."""

    outer: Packet
    overlay: bytes
    """VXLAN header and inner Ethernet header: 22 bytes."""
    inner: Packet


def parse_tunnelled(frame: bytes) -> Tunnelled | None:
    """The VXLAN datagram in an Ethernet frame; None if there is none, or a later fragment of it."""
    if struct.unpack_from("!H", frame, 12)[0] != _ETHERTYPE_IP:
        return None
    outer = parse_ip(frame[14:])
    if outer is None or outer.protocol != UDP or outer.fragment or outer.ports[1] != 8472:
        return None
    inner = parse_ip(outer.payload[30:])
    return Tunnelled(outer, outer.payload[8:30], inner) if inner else None
