# SPDX-License-Identifier: Apache-2.0
"""What must not be forwarded, into a node under load: each counted by its name, to the packet.

Half of it comes as single datagrams, half as the kernel's GRO hands equal ones on: 50 in a message.
"""

import contextlib
from collections.abc import Callable, Iterator

import pytest

from fwd.lab import nodes
from tests.netns import frames, sockets, topo, traffic
from tests.netns.inject import Injector
from tests.netns.topo import Counting, Net

pytestmark = [pytest.mark.netns, pytest.mark.root]

COUNT = 1000
PORT = 7777
PAYLOAD = b"x" * 64
OPTIONS = b"..\1\4" + bytes(12)
"""Padding, 16 bytes of it (RFC 8200, 4.2)."""
NOBODYS = {4: "203.0.113.1", 6: "2001:db8::1"}
GROUP = {4: "224.0.0.1", 6: "ff02::1"}
LOOPBACK = {4: "127.0.0.1", 6: "::1"}

Make = Callable[[Injector], bytes]


def other_version(injector: Injector) -> bytes:
    packet = injector.inner(PAYLOAD)
    return injector.encapsulated(bytes([packet[0] ^ 0x20]) + packet[1:])


def with_byte(packet: bytes, at: int, value: int) -> bytes:
    return packet[:at] + bytes([value]) + packet[at + 1 :]


def with_mac_of_receiver(injector: Injector) -> bytes:
    mac = "02:00:00:00:00:01"
    return injector.encapsulated(injector.inner(PAYLOAD), source=mac)


def from_pod(injector: Injector, node: int, number: int) -> bytes:
    """From an address of that node's subnet."""
    source = injector.net.addresses.pod(node, number).ip
    return injector.encapsulated(injector.inner(PAYLOAD, source=str(source)))


def with_total(injector: Injector, total: int) -> bytes:
    """The packet says to have so many bytes more than it has (or: so many)."""
    return injector.encapsulated(injector.inner(PAYLOAD, total=total))


# What is wrong -> the counter that says so, and how to make it.
BAD: dict[str, tuple[str, Make]] = {
    "wrong VNI": ("in_other_vni", lambda i: i.encapsulated(i.inner(PAYLOAD), vni=2)),
    "VNI in the upper bits": (
        "in_other_vni",
        lambda i: i.encapsulated(i.inner(PAYLOAD), vni=0x010001),
    ),
    "I flag clear": ("in_no_vni_flag", lambda i: i.encapsulated(i.inner(PAYLOAD), flags=0xF7)),
    "spoofed source": (
        "in_spoofed_source",
        lambda i: from_pod(i, 2, 1),
    ),
    "source of the receiver's own": (
        "in_spoofed_source",
        lambda i: from_pod(i, 1, 2),
    ),
    "source of nobody": (
        "in_spoofed_source",
        lambda i: i.encapsulated(i.inner(PAYLOAD, source=NOBODYS[i.net.family])),
    ),
    "to a group": (
        "in_no_host",
        lambda i: i.encapsulated(i.inner(PAYLOAD, target=GROUP[i.net.family])),
    ),
    "to loopback": (
        "in_no_host",
        lambda i: i.encapsulated(i.inner(PAYLOAD, target=LOOPBACK[i.net.family])),
    ),
    "wrong MAC": (
        "in_wrong_mac",
        lambda i: i.encapsulated(i.inner(PAYLOAD), target="02:00:00:00:00:02"),
    ),
    "source MAC zero": (
        "in_bad_source_mac",
        lambda i: i.encapsulated(i.inner(PAYLOAD), source="00:00:00:00:00:00"),
    ),
    "source MAC a group": (
        "in_bad_source_mac",
        lambda i: i.encapsulated(i.inner(PAYLOAD), source="03:00:00:00:00:03"),
    ),
    "source MAC the receiver's": ("in_bad_source_mac", with_mac_of_receiver),
    "EtherType ARP": (
        "in_ethertype",
        lambda i: i.encapsulated(i.inner(PAYLOAD), ethertype=0x0806),
    ),
    "the other IP version": ("in_ip_version", other_version),
    "total length one too long": (
        "in_ip_length",
        lambda i: with_total(i, i.net.ip_header + 8 + len(PAYLOAD) + 1),
    ),
    "total length 65535": ("in_ip_length", lambda i: with_total(i, 65535)),
}
# Of one family's header.
BAD_HEADER: dict[int, dict[str, tuple[str, Make]]] = {
    4: {
        "IHL 4": ("in_ip_header", lambda i: i.encapsulated(i.inner(PAYLOAD, ihl=4))),
        "IHL beyond the packet": (
            "in_ip_header",
            lambda i: i.encapsulated(i.inner(b"", ihl=15)),
        ),
        "total length below the header": (
            "in_ip_header",
            lambda i: with_total(i, 19),
        ),
    },
    6: {
        "options beyond the packet": (
            "in_ip_header",
            lambda i: i.encapsulated(i.inner(PAYLOAD, options=OPTIONS, total=40 + 15)),
        ),
        "options that say so": (
            "in_ip_header",
            lambda i: i.encapsulated(with_byte(i.inner(PAYLOAD, options=OPTIONS), 41, 255)),
        ),
        "half a fragment header": (
            "in_ip_header",
            lambda i: i.encapsulated(with_byte(i.inner(b"", total=47), 6, 44)),
        ),
    },
}


def bad(family: int) -> dict[str, tuple[str, Make]]:
    """All that can be wrong in a family."""
    return BAD | BAD_HEADER[family]


@pytest.fixture(scope="module")
def both() -> Iterator[Net]:
    with topo.built(families=(4, 6)) as net:
        yield net


@contextlib.contextmanager
def under_load(net: Net, expected: dict[str, int]) -> Iterator[None]:
    """A TCP flow into node 1 beside; afterwards these drops, and every packet accounted for."""
    counting, lost = Counting(net, 1), net.receive_errors(1)
    pod = net.pod(1)
    with traffic.tcp_load(net.pod(2).namespace, pod.namespace, net.address(pod)) as load:
        begun = load.received
        yield
        topo.wait_until(lambda: load.received > begun + traffic.MEGABYTE)
    counters = counting.at_rest()
    assert net.receive_errors(1) == lost, "the receive buffer ran over: inject more slowly"
    assert topo.drops_of(counters) == expected
    for index in (1, 2):
        topo.assert_balanced(Counting(net, index).total_at_rest())


def inject(injector: Injector, datagram: bytes, count: int = COUNT) -> None:
    injector.send(datagram, count // 2)
    injector.send_merged(datagram, count // 2)


@pytest.mark.parametrize(
    ("net", "counter", "make"),
    [
        pytest.param(family, *row, id=f"{name}-IPv{family}")
        for family in topo.FAMILIES.values()
        for name, row in bad(family).items()
    ],
    indirect=["net"],
)
def test_each_is_counted_by_its_name(net: Net, counter: str, make: Make) -> None:
    with under_load(net, {counter: COUNT}), Injector(net, 1) as injector:
        inject(injector, make(injector))


def test_unknown_outer_source(net: Net) -> None:
    with (
        under_load(net, {"in_unknown_peer": COUNT}),
        Injector(net, 1, stranger=True) as injector,
    ):
        inject(injector, injector.encapsulated(injector.inner(PAYLOAD)))


def test_truncated_at_every_length(net: Net) -> None:
    headers = 8 + 14 + net.ip_header
    with Injector(net, 1) as injector:
        whole = injector.encapsulated(injector.inner(PAYLOAD))
        expected = {
            "in_too_short": headers * COUNT,
            "in_ip_length": (len(whole) - headers) * COUNT,
        }
        with under_load(net, expected):
            injector.send(b"", COUNT)  # UDP_SEGMENT has no segments of nothing
            for length in range(1, len(whole)):
                injector.send(whole[:length], 50)
                injector.send_merged(whole[:length], COUNT - 50)


def test_all_mixed_with_good_ones(net: Net) -> None:
    """The good ones arrive, the bad ones are told apart although they come together."""
    expected: dict[str, int] = {}
    good = traffic.numbered(COUNT, 100)
    with net.udp_in(net.pod(1).namespace, PORT) as server, Injector(net, 1) as injector:
        made = [(counter, make(injector)) for counter, make in bad(net.family).values()]
        for number in range(COUNT):
            counter = made[number % len(made)][0]
            expected[counter] = expected.get(counter, 0) + 1
        with under_load(net, expected):
            for number, payload in enumerate(good):
                injector.send(made[number % len(made)][1])
                injector.send(injector.encapsulated(injector.inner(payload, port=PORT)))
            traffic.assert_same(traffic.receive(server, COUNT), good)


def test_merged_datagrams_came_merged(net: Net) -> None:
    """Else the tests above would not test it."""
    counting = Counting(net, 1)
    with Injector(net, 1) as injector:
        injector.send_merged(injector.encapsulated(injector.inner(PAYLOAD), vni=2), 500)
    counters = counting.at_rest()
    assert counters["in_packets"] == counters["in_other_vni"] == 500
    assert counters["in_receives"] == 10


ACCEPTED: dict[str, Make] = {
    "reserved flags set": lambda i: i.encapsulated(i.inner(PAYLOAD, port=PORT), flags=0xFF),
    "broadcast MAC": lambda i: i.encapsulated(
        i.inner(PAYLOAD, port=PORT), target="ff:ff:ff:ff:ff:ff"
    ),
    "unknown source MAC": lambda i: i.encapsulated(
        i.inner(PAYLOAD, port=PORT), source="02:12:34:56:78:9a"
    ),
    "the node's own address inside": lambda i: i.encapsulated(
        i.inner(PAYLOAD, port=PORT, source=i.net.underlay(3))
    ),
    "its VTEP's address inside": lambda i: i.encapsulated(
        i.inner(PAYLOAD, port=PORT, source=i.net.vtep(3))
    ),
    "padding behind the packet": lambda i: i.encapsulated(i.inner(PAYLOAD, port=PORT) + bytes(20)),
}


@pytest.mark.parametrize("make", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_what_only_looks_bad_is_delivered(net: Net, make: Make) -> None:
    counting = Counting(net, 1)
    with net.udp_in(net.pod(1).namespace, PORT) as server, Injector(net, 1) as injector:
        inject(injector, make(injector), 100)
        traffic.assert_same(traffic.receive(server, 100), [PAYLOAD] * 100)
    assert topo.drops_of(counting.at_rest()) == {}


def test_a_wrong_inner_checksum_stays_wrong(net: Net) -> None:
    """It is not repaired by being merged: the receiver's kernel drops it."""
    counting = Counting(net, 1)
    with net.udp_in(net.pod(1).namespace, PORT) as server, Injector(net, 1) as injector:
        good = injector.encapsulated(injector.inner(PAYLOAD, port=PORT))
        bad = good[:-1] + b"y"
        for first, second in ((bad, good), (good, bad)):
            inject(injector, first, 100)
            injector.send_merged(first, 50, then=second)
            inject(injector, second, 100)
        traffic.assert_same(traffic.receive(server, 4000), [PAYLOAD] * 251)
    counters = counting.at_rest()
    assert topo.drops_of(counters) == {}
    assert counters["in_writes"] < counters["in_written"]


def test_a_later_fragment_that_looks_like_an_unfinished_datagram(net: Net) -> None:
    """Nothing in it is a checksum, so nothing is filled in on a link that has to finish them."""
    link = net.node(1).namespace, nodes.port(net.pod(1)), sockets.SET_TX_CHECKSUM
    source, target = net.address(net.pod(3)), net.address(net.pod(1))
    disguise = frames.pseudo(source, target, frames.UDP, 72)
    unfinished = (frames.checksum(disguise) ^ 0xFFFF).to_bytes(2, "big")
    tail = b"\1\2\3\4" + (72).to_bytes(2, "big") + unfinished + bytes(64)
    payload = bytes(56) + tail
    whole = frames.udp(source, target, (1111, PORT), payload)
    with (
        contextlib.ExitStack() as stack,
        net.udp_in(net.pod(1).namespace, PORT) as server,
        Injector(net, 1) as injector,
    ):
        sockets.ethtool(*link, value=0)
        stack.callback(sockets.ethtool, *link, value=1)
        for part, fragment in ((whole[:64], 0x2000), (whole[64:], 64 // 8)):
            packet = frames.ip(source, target, part, fragment=fragment)
            injector.send(injector.encapsulated(packet))
        traffic.assert_same(traffic.receive(server, 1), [payload])
