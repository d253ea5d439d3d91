# SPDX-License-Identifier: Apache-2.0
"""Whatever comes as fast as a host can send it: nobody starves, and little is said.

What each kind that must not be forwarded is counted as, to the packet: test_dataplane_badpackets.
"""

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from fwd.bench.traffic import datagrams
from fwd.lab.probes import Route
from tests.netns import topo, traffic
from tests.netns.inject import Injector
from tests.netns.sockets import udp_in
from tests.netns.test_dataplane_badpackets import PAYLOAD, bad
from tests.netns.topo import Counting, Net

pytestmark = [pytest.mark.netns, pytest.mark.root]

SECONDS = 2.0
LINES = 3
"""Of the log for each kind: drops are told when they are first met, and once a minute."""


@pytest.fixture(scope="module")
def both() -> Iterator[Net]:
    with topo.built(families=(4, 6)) as net:
        yield net


@pytest.mark.parametrize("stranger", [False, True], ids=["a node's", "a stranger's"])
def test_a_flood_starves_nobody(net: Net, *, stranger: bool) -> None:
    """From a node that sends each kind of nonsense, or from a host that is no node."""
    counting, told, pod = Counting(net, 1), len(net.log(1)), net.pod(1)
    with (
        Injector(net, 1, stranger=stranger) as injector,
        traffic.tcp_load(net.pod(2).namespace, pod.namespace, net.address(pod)) as load,
    ):
        kinds = {counter for counter, _ in bad(net.family).values()}
        made = [make(injector) for _, make in bad(net.family).values()]
        if stranger:
            kinds, made = {"in_unknown_peer"}, [injector.encapsulated(injector.inner(PAYLOAD))]
        topo.wait_until(lambda: load.received > 0)
        begun = load.received
        sent = injector.flood(made, SECONDS)
        meanwhile = load.received - begun
        topo.wait_until(lambda: load.received > begun + traffic.MEGABYTE)
    counters = counting.at_rest()
    assert meanwhile > 0, "TCP went on"
    drops = topo.drops_of(counters)
    assert drops.keys() == kinds
    assert sum(drops.values()) <= sent
    topo.assert_balanced(counting.total_at_rest())
    assert len(net.log(1)) - told <= LINES * len(kinds)


FLOWS = 64
A_FLOW = 20  # datagrams


def test_a_flood_fills_a_queue_of_its_own(net: Net) -> None:
    """Of the flows beside it those lose packets that share its queue of the TUN: one in sixteen.

    With a queue for each of the two workers it would be every other.  All that the four others of
    a queue send has room in it: on a busy machine a worker may stand still meanwhile.
    """
    source, target = net.pod(1), net.pod(2)
    net.ip(net.node(1).namespace, f"link set {net.device} txqueuelen 100")
    route = Route(
        source.namespace, target.namespace, net.address(target), net.family, net.plan.pod_mtu
    )
    with ThreadPoolExecutor(1) as pool:
        flood = pool.submit(datagrams, route, size=64, seconds=2 * SECONDS)
        time.sleep(SECONDS / 4)
        got = beside(net, pause=SECONDS / 4 / A_FLOW)
        arrived = flood.result()
    assert arrived.received < arrived.sent, "more than the queue takes"
    assert sum(count == A_FLOW for count in got) > FLOWS * 3 / 4


def beside(net: Net, *, pause: float) -> list[int]:
    """Datagrams of each of some slow flows that have arrived."""
    source, target = net.pod(1), net.pod(2)
    with ExitStack() as stack:
        ends = [
            stack.enter_context(udp_in(target.namespace, net.address(target))) for _ in range(FLOWS)
        ]
        flows = [stack.enter_context(net.udp_in(source.namespace)) for _ in range(FLOWS)]
        for flow, end in zip(flows, ends, strict=True):
            flow.connect(end.getsockname())
        for _ in range(A_FLOW):
            for flow in flows:
                flow.send(bytes(64))
            time.sleep(pause)
        time.sleep(0.2)  # what is on the way
        return [arrivals(end) for end in ends]


def arrivals(end: socket.socket) -> int:
    """What waits in a socket."""
    end.setblocking(False)
    count = 0
    try:
        while True:
            end.recv(100)
            count += 1
    except BlockingIOError:
        return count
