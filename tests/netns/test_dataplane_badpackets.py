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
from tests.netns.sockets import udp_in
from tests.netns.topo import Counting, Net

pytestmark = [pytest.mark.netns, pytest.mark.root]

COUNT = 1000
PORT = 7777
PAYLOAD = b"x" * 64

Make = Callable[[Injector], bytes]


def other_version(injector: Injector) -> bytes:
    packet = injector.inner(PAYLOAD)
    return injector.encapsulated(bytes([0x65]) + packet[1:])


def with_mac_of_receiver(injector: Injector) -> bytes:
    mac = "02:00:00:00:00:01"
    return injector.encapsulated(injector.inner(PAYLOAD), source=mac)


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
        lambda i: i.encapsulated(i.inner(PAYLOAD, source="10.244.2.2")),
    ),
    "source of the receiver's own": (
        "in_spoofed_source",
        lambda i: i.encapsulated(i.inner(PAYLOAD, source="10.244.1.3")),
    ),
    "source of nobody": (
        "in_spoofed_source",
        lambda i: i.encapsulated(i.inner(PAYLOAD, source="203.0.113.1")),
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
    "IP version 6": ("in_ip_version", other_version),
    "IHL 4": ("in_ip_header", lambda i: i.encapsulated(i.inner(PAYLOAD, ihl=4))),
    "IHL beyond the packet": (
        "in_ip_header",
        lambda i: i.encapsulated(i.inner(b"", ihl=15)),
    ),
    "total length below the header": (
        "in_ip_header",
        lambda i: i.encapsulated(i.inner(PAYLOAD, total=19)),
    ),
    "total length one too long": (
        "in_ip_length",
        lambda i: i.encapsulated(i.inner(PAYLOAD, total=len(PAYLOAD) + 29)),
    ),
    "total length 65535": (
        "in_ip_length",
        lambda i: i.encapsulated(i.inner(PAYLOAD, total=65535)),
    ),
}


@pytest.fixture(scope="module")
def net() -> Iterator[Net]:
    with topo.built() as net:
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


@pytest.mark.parametrize(("counter", "make"), BAD.values(), ids=BAD.keys())
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
    headers = 8 + 14 + 20
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
    with udp_in(net.pod(1).namespace, port=PORT) as server, Injector(net, 1) as injector:
        made = [(counter, make(injector)) for counter, make in BAD.values()]
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
        i.inner(PAYLOAD, port=PORT, source="192.168.50.3")
    ),
    "its VTEP's address inside": lambda i: i.encapsulated(
        i.inner(PAYLOAD, port=PORT, source="10.244.3.0")
    ),
    "padding behind the packet": lambda i: i.encapsulated(i.inner(PAYLOAD, port=PORT) + bytes(20)),
}


@pytest.mark.parametrize("make", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_what_only_looks_bad_is_delivered(net: Net, make: Make) -> None:
    counting = Counting(net, 1)
    with udp_in(net.pod(1).namespace, port=PORT) as server, Injector(net, 1) as injector:
        inject(injector, make(injector), 100)
        traffic.assert_same(traffic.receive(server, 100), [PAYLOAD] * 100)
    assert topo.drops_of(counting.at_rest()) == {}


def test_a_wrong_inner_checksum_stays_wrong(net: Net) -> None:
    """It is not repaired by being merged: the receiver's kernel drops it."""
    counting = Counting(net, 1)
    with udp_in(net.pod(1).namespace, port=PORT) as server, Injector(net, 1) as injector:
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
        udp_in(net.pod(1).namespace, port=PORT) as server,
        Injector(net, 1) as injector,
    ):
        sockets.ethtool(*link, value=0)
        stack.callback(sockets.ethtool, *link, value=1)
        for part, fragment in ((whole[:64], 0x2000), (whole[64:], 64 // 8)):
            packet = frames.ip(source, target, part, fragment=fragment)
            injector.send(injector.encapsulated(packet))
        traffic.assert_same(traffic.receive(server, 1), [payload])
