# SPDX-License-Identifier: Apache-2.0
"""Echo requests and replies as bytes, of both families (RFC 792, RFC 4443 4.1 and 4.2).

A request's payload begins with a nonce of this process, so that an answer to somebody else's
request is not taken for one of ours.  Pure.
"""

import struct

from msgspec import Struct

from fwd.model import IPV4, IPV6

NONCE_LEN = 8
_HEADER = struct.Struct(">BBHHH")
"""Type, code, checksum, identifier, sequence number; big-endian."""
_REQUEST = {IPV4: 8, IPV6: 128}
REPLY = {IPV4: 0, IPV6: 129}
IP_HEADER = {IPV4: 20, IPV6: 40}
"""Bytes, without options."""


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
