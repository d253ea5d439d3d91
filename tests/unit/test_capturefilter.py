# SPDX-License-Identifier: Apache-2.0
"""Filter expressions: what they mean, by evaluating their steps, and what is refused."""

from ipaddress import ip_address, ip_network

import pytest
from msgspec import Struct

from fwd.core.capturefilter import (
    FilterError,
    Kind,
    PeerNets,
    Step,
    parse_filter,
)
from fwd.core.packetrecord import PASSED, Point
from fwd.model import Address
from fwd.plane.trace import c_tests

PEERS = {
    "n2": PeerNets((ip_address("192.168.50.2"),), (ip_network("10.244.2.0/24"),)),
    "n3": PeerNets((ip_address("192.168.50.3"), ip_address("fd50::3"))),
}
REASONS = ["out_packets", "in_wrong_mac", "in_ecn"]


class Packet(Struct, frozen=True):
    """As the data plane knows it."""

    src: str = "10.244.1.5"
    dst: str = "10.244.2.7"
    proto: int = 6
    sport: int = 40000
    dport: int = 80
    outer: str | None = "192.168.50.2"
    point: Point = Point.FROM_TUN
    verdict: int = PASSED


def within(step: Step, address: Address | None) -> bool:
    return (
        address is not None
        and step.net is not None
        and step.net.version == address.version
        and address in step.net
    )


def passes(steps: tuple[Step, ...], packet: Packet) -> bool:
    """What cext/filter.c does, in other words."""
    src, dst = ip_address(packet.src), ip_address(packet.dst)
    outer = ip_address(packet.outer) if packet.outer else None
    numbers = {
        Kind.POINT: packet.point,
        Kind.VERDICT: packet.verdict,
        Kind.FAMILY: src.version,
        Kind.PROTO: packet.proto,
        Kind.SPORT: packet.sport,
        Kind.DPORT: packet.dport,
    }
    nets = {Kind.SRC: src, Kind.DST: dst, Kind.PEER: outer}
    stack = [] if steps else [True]
    for step in steps:
        if step.kind is Kind.NOT:
            stack.append(not stack.pop())
        elif step.kind in {Kind.AND, Kind.OR}:
            last, first = stack.pop(), stack.pop()
            stack.append(first and last if step.kind is Kind.AND else first or last)
        elif step.kind in nets:
            stack.append(within(step, nets[step.kind]))
        else:
            stack.append(step.low <= numbers[step.kind] <= step.high)
    (answer,) = stack
    return answer


@pytest.mark.parametrize(
    ("text", "packet", "expected"),
    [
        ("", Packet(), True),
        ("host 10.244.1.5", Packet(), True),
        ("10.244.2.7", Packet(), True),
        ("src host 10.244.2.7", Packet(), False),
        ("dst 10.244.2.0/24", Packet(), True),
        ("net 10.244.3.0/24", Packet(), False),
        ("ip", Packet(), True),
        ("ip6", Packet(src="fd00::1", dst="fd00::2"), True),
        ("host fd00::2", Packet(src="fd00::1", dst="fd00::2"), True),
        ("tcp port 80", Packet(), True),
        ("tcp port 81", Packet(), False),
        ("udp port 80", Packet(), False),
        ("src port 80", Packet(), False),
        ("dst portrange 70-90", Packet(), True),
        ("portrange 90-70", Packet(), True),
        ("proto 132", Packet(proto=132), True),
        ("proto udp", Packet(proto=17), True),
        ("icmp or icmp6", Packet(proto=58), True),
        ("peer n2", Packet(), True),
        ("peer 192.168.50.2", Packet(), True),
        ("peer n3", Packet(), False),
        ("peer n3", Packet(outer="fd50::3"), True),
        ("peer 172.16.0.9", Packet(outer="172.16.0.9"), True),
        ("peer n2", Packet(outer=None, point=Point.TO_TUN, src="10.244.2.9"), True),
        ("peer n2", Packet(outer=None, point=Point.TO_TUN, src="10.244.3.9"), False),
        ("dropped", Packet(), False),
        ("passed", Packet(), True),
        ("dropped", Packet(verdict=1), True),
        ("reason in_wrong_mac", Packet(verdict=1), True),
        ("reason in_ecn", Packet(verdict=1), False),
        ("inbound", Packet(point=Point.TO_TUN), True),
        ("inbound", Packet(), False),
        ("outbound", Packet(point=Point.TO_UNDERLAY), True),
        ("outer", Packet(point=Point.FROM_UNDERLAY), True),
        ("inner", Packet(), True),
        ("inner", Packet(point=Point.FROM_UNDERLAY), False),
        ("not tcp", Packet(), False),
        ("!udp && !icmp", Packet(), True),
        ("udp or tcp and port 81", Packet(proto=17), True),
        ("(udp or tcp) and port 81", Packet(proto=17), False),
        ("udp||(tcp&&not(port 81))", Packet(), True),
    ],
)
def test_an_expression_means_what_it_says(text: str, packet: Packet, *, expected: bool) -> None:
    assert passes(parse_filter(text, peers=PEERS, reasons=REASONS), packet) is expected


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("host", "what comes after host is missing at the end"),
        ("host n2", "'n2' is no address"),
        ("net 10.244.1.5/24", "'10.244.1.5/24' is no network"),
        ("port 65536", "'65536' is no port"),
        ("port http", "'http' is no port"),
        ("proto 256", "'256' is no protocol"),
        ("peer n9", "there is no peer 'n9'"),
        ("reason in_typo", "there is no reason 'in_typo'"),
        ("(tcp", "a ) is missing"),
        ("tcp)", "')' is not expected there"),
        ("tcp or", "a test is missing at the end"),
        ("src peer n2", "'peer' is no test that is known here"),
        ("frobnicate", "'frobnicate' is no test"),
        ("tcp & udp", "'& udp' is not understood"),
        ("not " * 40 + "tcp", "too many parentheses"),
        ("tcp " * 200, "too long"),
    ],
)
def test_what_is_no_expression_is_refused_in_words(text: str, says: str) -> None:
    with pytest.raises(FilterError, match="filter: ") as raised:
        parse_filter(text, peers=PEERS, reasons=REASONS)
    assert says in str(raised.value)


def test_steps_reach_the_data_plane_as_they_are() -> None:
    steps = parse_filter("src net 10.244.0.0/16 and port 53", peers={}, reasons=[])
    tests = c_tests(steps)
    assert [test.what for test in tests] == [step.kind for step in steps]
    assert (tests[0].family, tests[0].length) == (4, 16)
    assert bytes(tests[0].address)[:4] == bytes([10, 244, 0, 0])
    assert (tests[1].low, tests[1].high) == (53, 53)
