# SPDX-License-Identifier: Apache-2.0
"""Echo requests and replies as bytes, of both families (RFC 792, RFC 4443 4.1 and 4.2).

A request's payload begins with a nonce of this process, so that an answer to somebody else's
request is not taken for one of ours.  Pure.
"""

import struct

from msgspec import Struct

from fwd.model import IPV4, IPV6, Address

NONCE_LEN = 8
_HEADER = struct.Struct(">BBHHH")
"""Type, code, checksum, identifier, sequence number; big-endian."""
_REQUEST = {IPV4: 8, IPV6: 128}
REPLY = {IPV4: 0, IPV6: 129}
IP_HEADER = {IPV4: 20, IPV6: 40}
"""Bytes, without options."""
_ICMP, _ICMPV6 = 1, 58
_HOPS = 64


class Reply(Struct, frozen=True):
    """What a reply repeats of its request."""

    sequence: int
    nonce: bytes


def smallest(family: int) -> int:
    """Bytes of the smallest packet that can be asked for, IP header included."""
    return IP_HEADER[family] + _HEADER.size + NONCE_LEN


def request(family: int, *, sequence: int, nonce: bytes, size: int) -> bytes:
    """The ICMP part of a packet of `size` bytes in all.

    The identifier is 0: a ping socket puts its own in.  The checksum of ICMPv6 is the kernel's.
    """
    assert len(nonce) == NONCE_LEN
    payload = nonce.ljust(size - IP_HEADER[family] - _HEADER.size, b"\0")
    blank = _HEADER.pack(_REQUEST[family], 0, 0, 0, sequence)
    checksum = _checksum(blank + payload) if family == IPV4 else 0
    return _HEADER.pack(_REQUEST[family], 0, checksum, 0, sequence) + payload


def packet(
    source: Address,
    destination: Address,
    *,
    identifier: int,
    sequence: int,
    nonce: bytes,
    size: int,
) -> bytes:
    """A whole packet, for those who send it by other means than the kernel's ICMP."""
    family = source.version
    blank = request(family, sequence=sequence, nonce=nonce, size=size)
    body = blank[:2] + b"\0\0" + identifier.to_bytes(2) + blank[6:]
    if family == IPV4:
        checksum = _checksum(body)
    else:
        pseudo = source.packed + destination.packed + struct.pack(">I3xB", len(body), _ICMPV6)
        checksum = _checksum(pseudo + body)
    return _ip_header(source, destination, len(body)) + body[:2] + checksum.to_bytes(2) + body[4:]


def _ip_header(source: Address, destination: Address, length: int) -> bytes:
    """DF set, as far as the family has it."""
    addresses = source.packed + destination.packed
    if source.version == IPV6:
        return struct.pack(">IHBB", 6 << 28, length, _ICMPV6, _HOPS) + addresses
    fields = (0x45, 0, IP_HEADER[IPV4] + length, 0, 0x4000, _HOPS, _ICMP)
    blank = struct.pack(">BBHHHBBH", *fields, 0) + addresses
    return struct.pack(">BBHHHBBH", *fields, _checksum(blank)) + addresses


def parse_reply(family: int, packet: bytes) -> Reply | None:
    """The ICMP part of a packet, if it is an echo reply."""
    return _parse(packet, REPLY[family])


def parse_request(family: int, packet: bytes) -> Reply | None:
    """The same of a request, as the kernel gives it back with an error."""
    return _parse(packet, _REQUEST[family])


def _parse(packet: bytes, kind: int) -> Reply | None:
    if len(packet) < _HEADER.size + NONCE_LEN:
        return None
    found, code, _, _, sequence = _HEADER.unpack_from(packet)
    if (found, code) != (kind, 0):
        return None
    return Reply(sequence, packet[_HEADER.size :][:NONCE_LEN])


def without_ip_header(packet: bytes) -> bytes:
    """A raw IPv4 socket hands over the IP header too, with its options."""
    return packet[(packet[0] & 0x0F) * 4 :] if packet else packet


def _checksum(data: bytes) -> int:
    """RFC 1071, of data whose checksum field is zero."""
    padded = data + b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f">{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
