# SPDX-License-Identifier: Apache-2.0
"""The outer IP and UDP headers of a captured datagram: the kernel makes them, the plane has none.

All that matters is as it was on the wire: addresses, ports, ECN, lengths, DF, which is clear.  What
only the kernel knows is not: IPv4's id is 0, the time to live 64, and the UDP checksum stands for
"none" over IPv4, while over IPv6, where there must be one, it is right for what was captured whole.
"""

import struct

from fwd.model import IPV4, Address

IP4_BYTES, IP6_BYTES, UDP_BYTES = 20, 40, 8
_UDP = 17
_TTL = 64


def outer_headers(
    src: Address, dst: Address, *, ports: tuple[int, int], tos: int, payload: bytes, length: int
) -> bytes:
    """IP and UDP headers for `length` bytes, of which payload are the first."""
    udp_length = UDP_BYTES + length
    if src.version == IPV4:
        total = IP4_BYTES + udp_length
        head = [0x45, tos, total, 0, 0, _TTL, _UDP, 0, src.packed, dst.packed]
        head[7] = _checksum(_ip4(head))
        return _ip4(head) + struct.pack("!HHHH", *ports, udp_length, 0)
    udp = struct.pack("!HHHH", *ports, udp_length, 0xFFFF)
    if len(payload) == length:
        udp = udp[:6] + bytes(2)
        pseudo = src.packed + dst.packed + struct.pack("!II", udp_length, _UDP)
        udp = udp[:6] + struct.pack("!H", _checksum(pseudo + udp + payload) or 0xFFFF)
    first = 6 << 28 | tos << 20
    return struct.pack("!IHBB16s16s", first, udp_length, _UDP, _TTL, src.packed, dst.packed) + udp


def _ip4(fields: list[object]) -> bytes:
    return struct.pack("!BBHHHBBH4s4s", *fields)


def _checksum(data: bytes) -> int:
    """RFC 1071."""
    data += bytes(len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
