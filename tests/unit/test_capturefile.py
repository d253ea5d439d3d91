# SPDX-License-Identifier: Apache-2.0
"""Records of packets, the headers made up for them, and a pcapng file, byte by byte."""

import struct
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from fwd.core import pcapng
from fwd.core.innerpacket import InnerPacket, inner_bytes, parse_inner
from fwd.core.outerheaders import outer_headers
from fwd.core.packetrecord import PASSED, RECORD, PacketRecord, Point, parse_records
from fwd.ops import capturefile
from fwd.ops.capturing import CapturedTunnel, CaptureHeader

HEADER = CaptureHeader(
    node="n1",
    version="1.2",
    snaplen=1500,
    tunnels=(CapturedTunnel("flannel.1", 4, "eth0", "192.168.50.1", 8472),),
    reasons=("out_no_route", "in_ecn"),
    nodes={"192.168.50.2": "n2"},
)


def ip4(src: str, dst: str, proto: int, rest: bytes, *, frag: int = 0, options: int = 0) -> bytes:
    length = 20 + options + len(rest)
    head = struct.pack("!BBHHHBBH", 0x45 + options // 4, 0, length, 7, frag, 64, proto, 0)
    return head + ip_address(src).packed + ip_address(dst).packed + bytes(options) + rest


def ip6(src: str, dst: str, proto: int, rest: bytes) -> bytes:
    head = struct.pack("!IHBB", 6 << 28, len(rest), proto, 64)
    return head + ip_address(src).packed + ip_address(dst).packed + rest


PORTS = struct.pack("!HH", 1000, 80) + bytes(16)
HOP_BY_HOP = struct.pack("!BB", 6, 0) + bytes(6)


@pytest.mark.parametrize(
    ("packet", "told"),
    [
        (ip4("10.0.0.1", "10.0.0.2", 6, PORTS), "10.0.0.1:1000 > 10.0.0.2:80 tcp"),
        (ip4("10.0.0.1", "10.0.0.2", 17, PORTS, options=8), "10.0.0.1:1000 > 10.0.0.2:80 udp"),
        (ip4("10.0.0.1", "10.0.0.2", 17, PORTS, frag=9), "10.0.0.1 > 10.0.0.2 udp"),
        (ip4("10.0.0.1", "10.0.0.2", 1, b""), "10.0.0.1 > 10.0.0.2 icmp"),
        (ip4("10.0.0.1", "10.0.0.2", 99, b"")[:20], "10.0.0.1 > 10.0.0.2 proto 99"),
        (ip4("10.0.0.1", "10.0.0.2", 6, b"\0"), "10.0.0.1 > 10.0.0.2 tcp"),
        (ip6("fd00::1", "fd00::2", 6, PORTS), "[fd00::1]:1000 > [fd00::2]:80 tcp"),
        (ip6("fd00::1", "fd00::2", 0, HOP_BY_HOP + PORTS), "[fd00::1]:1000 > [fd00::2]:80 tcp"),
        (ip6("fd00::1", "fd00::2", 44, b"\x11\0\0\x10" + PORTS), "fd00::1 > fd00::2 udp"),
        (ip6("fd00::1", "fd00::2", 0, b""), "fd00::1 > fd00::2 proto 0"),
        (b"", "None"),
        (b"\x45" * 19, "None"),
        (b"\x60" * 39, "None"),
        (b"\x10" * 60, "None"),
    ],
)
def test_an_inner_packet_is_read_as_far_as_it_goes(packet: bytes, told: str) -> None:
    assert str(parse_inner(packet)) == told


def record(data: bytes, *, point: Point = Point.TO_UNDERLAY, **given: object) -> PacketRecord:
    fields: dict[str, object] = {
        "time_ns": 1_700_000_000_123_456_789,
        "point": point,
        "verdict": PASSED,
        "length": len(data),
        "data": data,
        "packets": 1,
        "outer": ip_address("192.168.50.2"),
        "port": 50000,
        "tos": 3,
    }
    return PacketRecord(**(fields | given))  # type: ignore[arg-type]


def packed(one: PacketRecord) -> bytes:
    outer = one.outer.packed.ljust(16, b"\0") if one.outer else bytes(16)
    size = RECORD.size + len(one.data) + -len(one.data) % 8
    head = RECORD.pack(
        size, one.length, len(one.data), one.packets, one.time_ns, one.verdict, one.port,
        one.point, one.tos, outer,
    )  # fmt: skip
    return (head + one.data).ljust(size, b"\0")


def test_records_are_read_one_after_the_other() -> None:
    some = [record(b"x" * n, point=Point(n % 4), packets=n, verdict=n) for n in range(20)]
    some.append(record(b"", outer=None, length=70))
    assert list(parse_records(b"".join(map(packed, some)), family=4)) == some


def checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


@pytest.mark.parametrize("payload", [b"", b"odd", b"\xff" * 40])
def test_headers_are_whole_and_their_checksums_right(payload: bytes) -> None:
    four, six = ip_address("192.168.50.1"), ip_address("fd50::1")
    head = outer_headers(four, four, ports=(1, 2), tos=3, payload=payload, length=len(payload))
    assert checksum(head[:20]) == 0xFFFF
    assert struct.unpack("!H", head[2:4])[0] == 28 + len(payload)
    assert head[1] == 3
    assert head[4:8] == bytes(4), "DF is clear, as the sockets have it"
    assert head[20:] == struct.pack("!HHHH", 1, 2, 8 + len(payload), 0)
    head = outer_headers(six, six, ports=(1, 2), tos=3, payload=payload, length=len(payload))
    pseudo = head[8:40] + struct.pack("!II", 8 + len(payload), 17)
    body = head[40:] + payload
    assert checksum(pseudo + body + bytes(len(body) % 2)) == 0xFFFF
    assert struct.unpack("!I", head[:4])[0] == 6 << 28 | 3 << 20


def blocks(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and body of each block, whose two lengths agree."""
    at = 0
    while at < len(data):
        kind, size = struct.unpack_from("=II", data, at)
        assert size % 4 == 0
        assert struct.unpack_from("=I", data, at + size - 4) == (size,)
        yield kind, data[at + 8 : at + size - 4]
        at += size
    assert at == len(data)


def options(data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    at = 0
    while True:
        code, length = struct.unpack_from("=HH", data, at)
        if code == 0:
            assert at + 4 == len(data)
            return found
        found[code] = data[at + 4 : at + 4 + length]
        at += 4 + length + -length % 4


def test_a_file_begins_with_its_interfaces() -> None:
    section, inner, outer = blocks(capturefile.begin(HEADER))
    assert section[0] == 0x0A0D0D0A
    assert section[1][:4] == struct.pack("=I", 0x1A2B3C4D)
    assert options(section[1][16:]) == {4: b"fwd 1.2", 1: b"node n1"}
    for (kind, body), name in ((inner, b"flannel.1"), (outer, b"eth0")):
        assert kind == 1
        assert struct.unpack_from("=H", body) == (pcapng.LINKTYPE_RAW,)
        assert options(body[8:])[2] == name
        assert options(body[8:])[9] == b"\x09"


@pytest.mark.parametrize(
    ("one", "interface", "direction", "comment"),
    [
        (record(b"x" * 30), 1, 2, "to the underlay: passed, peer n2 (192.168.50.2)"),
        (
            record(b"x" * 30, point=Point.FROM_UNDERLAY, verdict=1, outer=ip_address("1.2.3.4")),
            1,
            1,
            "from the underlay: dropped, in_ecn, peer 1.2.3.4",
        ),
        (record(b"x", point=Point.FROM_TUN, outer=None, verdict=0), 0, 2,
         "from Pods: dropped, out_no_route"),
        (record(b"x", point=Point.TO_TUN, outer=None, packets=45), 0, 1,
         "to Pods: passed, 45 packets in one"),
    ],
)  # fmt: skip
def test_a_packet_has_direction_and_verdict(
    one: PacketRecord, interface: int, direction: int, comment: str
) -> None:
    ((kind, body),) = blocks(capturefile.packet(HEADER, 0, one))
    number, high, low, kept, length = struct.unpack_from("=5I", body)
    assert (kind, number, high << 32 | low) == (6, interface, one.time_ns)
    front = 28 if one.point.is_outer else 0
    assert (kept, length) == (front + len(one.data), front + one.length)
    assert body[20 + front : 20 + kept] == one.data
    found = options(body[20 + kept + -kept % 4 :])
    assert found == {2: struct.pack("=I", direction), 1: comment.encode()}


def test_a_line_for_people() -> None:
    data = bytes(22) + ip4("10.0.0.1", "10.0.0.2", 6, PORTS)
    assert capturefile.line(HEADER, 0, record(data)) == (
        "2023-11-14T22:13:20.123456Z out eth0 10.0.0.1:1000 > 10.0.0.2:80 tcp, length 62: "
        "passed, peer n2 (192.168.50.2)"
    )
    assert parse_inner(inner_bytes(record(data))) == InnerPacket(
        ip_address("10.0.0.1"), ip_address("10.0.0.2"), 6, 1000, 80
    )


def test_what_was_lost_stands_at_the_end() -> None:
    """Of each tunnel once, whatever the number of its interfaces: readers add them up."""
    found = list(blocks(capturefile.end(time_ns=5, lost=(77, 8))))
    assert [kind for kind, _ in found] == [5, 5]
    assert [struct.unpack_from("=I", body)[0] for _, body in found] == [0, 2]
    dropped = [options(body[12:])[5] for _, body in found]
    assert dropped == [struct.pack("=Q", 77), struct.pack("=Q", 8)]
