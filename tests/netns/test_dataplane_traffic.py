# SPDX-License-Identifier: Apache-2.0
"""TCP, UDP and ICMP between Pods of fwd nodes and of kernel nodes: all arrives as it was sent.

Nodes 1 and 2 run fwd, node 3 has the kernel's vxlan device and leaves checksums and segmentation
undone, as any paravirtual link lets it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.netns import topo, traffic
from tests.netns.capture import Capture
from tests.netns.topo import Counting, Net
from tests.netns.traffic import MEGABYTE

pytestmark = [pytest.mark.netns, pytest.mark.root]

PAIRS = {"fwd to fwd": (2, 1), "kernel to fwd": (3, 1), "fwd to kernel": (1, 3)}


@pytest.fixture(scope="module", params=[1500, 9000])
def both(request: pytest.FixtureRequest) -> Iterator[Net]:
    with topo.built(mtu=request.param, families=(4, 6)) as net:
        yield net
        for index in (1, 2):
            for family in topo.FAMILIES.values():
                counters = Counting(net.seen(family), index).total_at_rest()
                topo.assert_balanced(counters)
                assert topo.drops_of(counters) == {}


@dataclass(frozen=True)
class Path:
    """From one Pod to another, or from a node itself."""

    source: str
    target: str
    address: str


@pytest.fixture(params=PAIRS.values(), ids=tuple(PAIRS))
def path(request: pytest.FixtureRequest, net: Net) -> Path:
    source, target = request.param
    return between(net, source, target)


def between(net: Net, source: int, target: int) -> Path:
    pod = net.pod(target)
    return Path(net.pod(source).namespace, pod.namespace, net.address(pod))


def test_tcp_arrives_whole_in_both_directions(path: Path) -> None:
    traffic.tcp_exchange(path.source, path.target, path.address, size=8 * MEGABYTE)


def test_paced_udp_arrives_whole_and_in_order(net: Net, path: Path) -> None:
    for size, count in ((4, 500), (100, 2000), (net.room, 2000)):
        traffic.udp_stream(path.source, path.target, path.address, count=count, size=size)


def test_udp_of_sizes_that_change(net: Net, path: Path) -> None:
    """Only what a receiver can tell apart again may be packed or merged."""
    sizes = (50, 50, 120, 30, 30, 31, net.room, 700, 50, 700, 700, 8)
    sent = [traffic.content(number, sizes[number % len(sizes)]) for number in range(2400)]
    traffic.udp_flow(path.source, path.target, path.address, sent)


def test_udp_in_inner_fragments(path: Path) -> None:
    for size in (20_000, 65_507):
        traffic.udp_stream(path.source, path.target, path.address, count=20, size=size)


def test_ping_of_every_size(net: Net, path: Path) -> None:
    step = 1 if net.mtu < 2000 else 7
    traffic.ping(path.source, path.address, range(0, net.room + 1, step))


def test_ping_in_fragments(net: Net, path: Path) -> None:
    whole = net.room
    sizes = [whole, whole + 1, whole + 7, whole + 8, 2 * whole, 4000, 20_000, 65_507]
    traffic.ping(path.source, path.address, sizes)


@pytest.mark.parametrize("gro", [False, True], ids=["plain receiver", "UDP_GRO receiver"])
@pytest.mark.parametrize(
    ("length", "size"),
    [(36 * 1200 + 700, 1200), (37 * 1200, 1200), (9 * 100 + 60, 100), (63 * 10, 10), (1201, 1200)],
)
def test_udp_segment_senders(path: Path, *, length: int, size: int, gro: bool) -> None:
    for seed in range(3):
        data = traffic.content(seed, length)
        traffic.segmented(path.source, path.target, path.address, data=data, size=size, gro=gro)


@pytest.mark.parametrize(("source", "target"), [(1, 2), (1, 3), (3, 1)])
def test_a_node_itself_reaches_pods(net: Net, source: int, target: int) -> None:
    pod, node = net.pod(target), net.node(source).namespace
    traffic.ping(node, net.address(pod), [0, 56, 4000])
    traffic.tcp_exchange(node, pod.namespace, net.address(pod), size=MEGABYTE)


def test_kernel_peers_leave_tcp_uncut_and_unfinished(net: Net) -> None:
    """Else the tests above would not test it."""
    counting = Counting(net, 1)
    with Capture(net, 3) as capture:
        path = between(net, 3, 1)
        traffic.tcp_exchange(path.source, path.target, path.address, size=MEGABYTE)
        seen = [one.inner for one in capture.tunnelled() if one.inner.protocol == 6]
    # Without data it may be finished: a socket in TIME_WAIT answers so (tcp_v4_send_ack).
    full = [one for one in seen if len(one.payload) > (one.payload[12] >> 4) * 4]
    assert full
    assert all(packet.is_unfinished for packet in full)
    assert max(len(packet.payload) for packet in seen) > 4 * net.mtu
    counters = counting.at_rest()
    assert counters["in_bytes"] > net.mtu * counters["in_packets"]


def test_kernel_peers_leave_udp_segment_uncut(net: Net) -> None:
    path = between(net, 3, 1)
    counting = Counting(net, 1)
    data = traffic.content(1, 36 * 1200)
    traffic.segmented(path.source, path.target, path.address, data=data, size=1200, gro=False)
    counters = counting.at_rest()
    assert counters["in_packets"] == counters["in_writes"] == 1
    assert counters["in_bytes"] == len(data) + net.ip_header + 8


def test_udp_segment_reaches_fwd_uncut_and_leaves_it_packed(net: Net) -> None:
    path = between(net, 2, 1)
    counting = Counting(net, 2)
    data = traffic.content(1, 36 * 1200)
    traffic.segmented(path.source, path.target, path.address, data=data, size=1200, gro=False)
    counters = counting.at_rest()
    assert counters["out_packets"] == counters["out_sent"] == 36
    assert counters["out_reads"] == counters["out_sends"] == 1
