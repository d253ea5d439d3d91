# SPDX-License-Identifier: Apache-2.0
"""Frames made and read with struct, from the RFCs and not from cext: what tests inject and capture.

Both families: which one is meant say the addresses.  Addresses are text, numbers are host integers.
"""

import struct
from ipaddress import IPv6Address, ip_address
from typing import Final

from msgspec import Struct

UDP: Final = 17
TCP: Final = 6
ICMP: Final = {4: 1, 6: 58}
ETHERTYPE: Final = {4: 0x0800, 6: 0x86DD}
HEADER: Final = {4: 20, 6: 40}
"""Bytes of an IP header without options."""

NOT_ECT, ECT_1, ECT_0, CE = 0, 1, 2, 3

DONT_FRAGMENT: Final = 0x4000
_FRAGMENT: Final = 44  # IPv6's header for it


def checksum(data: bytes) -> int:
    """RFC 1071."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def pseudo(source: str, target: str, protocol: int, length: int) -> bytes:
    """The pseudo-header of RFC 768, RFC 9293, 3.1 and RFC 8200, 8.1."""
    addresses = ip_address(source).packed + ip_address(target).packed
    return addresses + struct.pack("!II", length, protocol)


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
    options: bytes = b"",
) -> bytes:
    """An IP packet; ihl and total may be wrong, a header checksum is right all the same.

    ihl is IPv4's only; total is the packet's length in both.  fragment is IPv4's field, and makes a
    fragment header in IPv6, where DF means nothing.  options are IPv6's destination options: whole
    units of 8 bytes, the first two of them left for the header.
    """
    from_packed, to_packed = ip_address(source).packed, ip_address(target).packed
    if len(from_packed) == 4:
        length = 20 + len(payload) if total is None else total
        header = struct.pack(
            "!BBHHHBBH4s4s",
            *(0x40 | ihl, tos, length, 1, fragment, 64, protocol, 0),
            *(from_packed, to_packed),
        )
        return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + payload
    if fragment & ~DONT_FRAGMENT:
        field = (fragment & 0x1FFF) << 3 | bool(fragment & 0x2000)
        payload = struct.pack("!BBHI", protocol, 0, field, 1) + payload
        protocol = _FRAGMENT
    if options:
        payload = bytes([protocol, len(options) // 8 - 1]) + options[2:] + payload
        protocol = 60
    length = len(payload) if total is None else total - 40
    return (
        struct.pack(
            "!IHBB16s16s", 6 << 28 | tos << 20, length, protocol, 64, from_packed, to_packed
        )
        + payload
    )


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
    ethertype: int,
) -> bytes:
    """The payload of an outer UDP datagram (RFC 7348, 5); target and source are MACs."""
    header = struct.pack("!II", flags << 24, vni << 8)
    return header + mac(target) + mac(source) + struct.pack("!H", ethertype) + packet


class Packet(Struct, frozen=True):
    """An IP packet that was captured; payload is what follows its header."""

    source: str
    target: str
    protocol: int
    tos: int
    ttl: int
    dont_fragment: bool
    fragment: bool
    payload: bytes
    header: bytes
    flow_label: int = 0

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
        """Whether all checksums are right."""
        is_ip6 = self.header[0] >> 4 == 6
        return (is_ip6 or checksum(self.header) == 0) and checksum(self.pseudo + self.payload) == 0

    @property
    def is_unfinished(self) -> bool:
        """Whether the TCP or UDP checksum is the sum of the pseudo-header and nothing else."""
        return self.checksum == checksum(self.pseudo) ^ 0xFFFF


def parse_ip(data: bytes) -> Packet | None:
    """The IP packet that data begins with; None if it is none."""
    if len(data) >= 40 and data[0] >> 4 == 6:
        return _parse_ip6(data)
    if len(data) < 20 or data[0] >> 4 != 4:
        return None
    total, fragment = struct.unpack_from("!H", data, 2)[0], struct.unpack_from("!H", data, 6)[0]
    length = (data[0] & 15) * 4
    return Packet(
        source=str(ip_address(data[12:16])),
        target=str(ip_address(data[16:20])),
        protocol=data[9],
        tos=data[1],
        ttl=data[8],
        dont_fragment=bool(fragment & DONT_FRAGMENT),
        fragment=bool(fragment & 0x3FFF),
        payload=data[length:total],
        header=data[:length],
    )


def _parse_ip6(data: bytes) -> Packet:
    """Of extension headers it knows the fragment's only, as the first one."""
    first, length = struct.unpack_from("!IH", data)
    is_fragment = data[6] == _FRAGMENT
    return Packet(
        source=str(IPv6Address(data[8:24])),
        target=str(IPv6Address(data[24:40])),
        protocol=data[40] if is_fragment else data[6],
        tos=first >> 20 & 0xFF,
        ttl=data[7],
        dont_fragment=False,
        fragment=is_fragment,
        payload=data[48 if is_fragment else 40 : 40 + length],
        header=data[:40],
        flow_label=first & 0xFFFFF,
    )


class Tunnelled(Struct, frozen=True):
    """A VXLAN datagram that was captured."""

    outer: Packet
    overlay: bytes
    """VXLAN header and inner Ethernet header: 22 bytes."""
    inner: Packet


def parse_tunnelled(frame: bytes) -> Tunnelled | None:
    """The VXLAN datagram in an Ethernet frame; None if there is none, or a later fragment of it."""
    if struct.unpack_from("!H", frame, 12)[0] not in ETHERTYPE.values():
        return None
    outer = parse_ip(frame[14:])
    if outer is None or outer.protocol != UDP or outer.fragment or outer.ports[1] != 8472:
        return None
    inner = parse_ip(outer.payload[30:])
    return Tunnelled(outer, outer.payload[8:30], inner) if inner else None
