# SPDX-License-Identifier: Apache-2.0
"""Blocks of a pcapng file (draft-ietf-opsawg-pcapng), in this machine's byte order.

Only what a capture of ours needs: one section, its interfaces, packets, and how many were lost.
"""

import struct
from collections.abc import Iterable

LINKTYPE_RAW = 101
"""Packets begin with their IP header."""
INBOUND, OUTBOUND = 1, 2

_SECTION, _INTERFACE, _STATISTICS, _PACKET = 0x0A0D0D0A, 1, 5, 6
_BYTE_ORDER_MAGIC = 0x1A2B3C4D
_COMMENT = 1
_SECTION_APPLICATION = 4
_IF_NAME, _IF_DESCRIPTION, _IF_TSRESOL = 2, 3, 9
_ISB_DROPPED = 5
_EPB_FLAGS = 2
_NANOSECONDS = b"\x09"
"""10^-9 s."""


def section(application: str, comment: str) -> bytes:
    """The first block of a file."""
    fixed = struct.pack("=IHHq", _BYTE_ORDER_MAGIC, 1, 0, -1)
    return _block(
        _SECTION,
        fixed,
        [(_SECTION_APPLICATION, application.encode()), (_COMMENT, comment.encode())],
    )


def interface(name: str, description: str, *, snaplen: int) -> bytes:
    """An interface; the first one is number 0.  Times of its packets are nanoseconds."""
    options = [(_IF_NAME, name.encode()), (_IF_DESCRIPTION, description.encode())]
    options.append((_IF_TSRESOL, _NANOSECONDS))
    return _block(_INTERFACE, struct.pack("=HHI", LINKTYPE_RAW, 0, snaplen), options)


def packet(
    data: bytes, *, interface: int, time_ns: int, length: int, direction: int, comment: str
) -> bytes:
    """A packet of `length` bytes, of which data are the first."""
    fixed = struct.pack("=IIIII", interface, time_ns >> 32, time_ns & 0xFFFFFFFF, len(data), length)
    options = [(_EPB_FLAGS, struct.pack("=I", direction)), (_COMMENT, comment.encode())]
    return _block(_PACKET, fixed + _padded(data), options)


def statistics(*, interface: int, time_ns: int, lost: int) -> bytes:
    """How many packets of an interface are not in the file."""
    fixed = struct.pack("=III", interface, time_ns >> 32, time_ns & 0xFFFFFFFF)
    return _block(_STATISTICS, fixed, [(_ISB_DROPPED, struct.pack("=Q", lost))])


def _block(kind: int, fixed: bytes, options: Iterable[tuple[int, bytes]]) -> bytes:
    body = fixed + b"".join(
        struct.pack("=HH", code, len(value)) + _padded(value) for code, value in options if value
    )
    body += struct.pack("=HH", 0, 0)
    total = struct.pack("=I", len(body) + 12)
    return struct.pack("=I", kind) + total + body + total


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
