# SPDX-License-Identifier: Apache-2.0
"""Several workers and replies: a flow keeps its TUN queue, so that nothing of it is overtaken.

By itself the kernel moves a flow to the queue through which its latest reply was written
(drivers/net/tun.c, tun_flow_update); what waits in the old queue is then overtaken as soon as
that queue's worker is slower.  cext/steer.h is there to prevent it.  Here a worker is held still
so that the old queue is as slow as can be: without steering, these tests fail each time.
"""

import socket
import struct
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from fwd.bench import traffic as load
from fwd.lab.probes import Route
from tests.netns import threads, topo
from tests.netns.sockets import af_of, open_in, udp_in
from tests.netns.topo import Net
from tests.netns.traffic import SLOWER

pytestmark = [pytest.mark.netns, pytest.mark.root]

FLOWS = 48  # of which enough leave by one worker and are answered through another
BURST = 5  # segments: less than TCP sends before the first acknowledgement
SIZE = 400
# The kernel forgets a flow's queue after three seconds, by a timer that runs on whole seconds.
FORGOTTEN = 6.0
OVERTAKING = 0.1  # seconds; a packet that may overtake does so in a fraction of it


@pytest.fixture(scope="module", params=[2, 4])
def both(request: pytest.FixtureRequest) -> Iterator[Net]:
    with topo.built(families=(4, 6), args=("--workers", str(request.param))) as net:
        yield net


def each(both: Net) -> list[Net]:
    """The lab in each of its families: for what takes time, and can take it at once."""
    return [both.seen(family) for family in both.plan.spec.families]


class Flow:
    """A socket on node 2, one on node 1, and what each of them has received."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client = client
        self.server = server
        self.arrived = b""
        self.answered = b""
        for end in (client, server):
            end.setblocking(False)

    def send(self, first: int) -> None:
        """Numbers from `first` on, a datagram or segment each."""
        for number in range(first, first + BURST):
            self.client.send(struct.pack("!I", number).ljust(SIZE, b"."))

    def reply(self) -> None:
        self.server.send(b"!")

    def look(self) -> None:
        with suppress(BlockingIOError):
            while data := self.server.recv(SIZE):
                self.arrived += data
        with suppress(BlockingIOError):
            while data := self.client.recv(SIZE):
                self.answered += data

    @property
    def numbers(self) -> list[int]:
        """In the order of arrival."""
        whole = len(self.arrived) // SIZE
        return [struct.unpack_from("!I", self.arrived, i * SIZE)[0] for i in range(whole)]


def udp_flows(net: Net, stack: ExitStack) -> Iterator[Flow]:
    for _ in range(FLOWS):
        server = stack.enter_context(udp_in(net.pod(1).namespace, net.address(net.pod(1))))
        client = stack.enter_context(udp_in(net.pod(2).namespace, net.address(net.pod(2))))
        client.connect(server.getsockname())
        server.connect(client.getsockname())
        yield Flow(client, server)


def tcp_flows(net: Net, stack: ExitStack) -> Iterator[Flow]:
    family = af_of(net.any)
    listener = open_in(net.pod(1).namespace, family, socket.SOCK_STREAM)
    stack.enter_context(listener)
    listener.bind((net.address(net.pod(1)), 0))
    listener.listen(FLOWS)
    for _ in range(FLOWS):
        client = open_in(net.pod(2).namespace, family, socket.SOCK_STREAM)
        stack.enter_context(client).setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.connect(listener.getsockname())
        server = stack.enter_context(listener.accept()[0])
        yield Flow(client, server)


def look(flows: list[Flow]) -> None:
    for flow in flows:
        flow.look()


def all_arrived(flows: list[Flow], count: int) -> bool:
    look(flows)
    return all(len(flow.numbers) >= count for flow in flows)


def begin(flows: list[Flow]) -> None:
    for flow in flows:
        flow.send(0)
    topo.wait_until(lambda: all_arrived(flows, BURST))


def tempt(net: Net, *groups: list[Flow], worker: int) -> None:
    """Holds a worker still, lets replies come by the others, and sends on.

    And the control thread, which would take the worker for a stuck one on a slow machine.
    """
    flows = [flow for group in groups for flow in group]
    pid = net.agent_pid(2)
    with threads.held([pid, *threads.workers(pid, worker)]):
        for flow in flows:
            flow.send(BURST)
            flow.reply()

        def tempted(group: list[Flow]) -> int:
            """Flows that wait for the one worker and were answered through the other."""
            look(group)
            return sum(bool(flow.answered) and len(flow.numbers) == BURST for flow in group)

        topo.wait_until(lambda: all(tempted(group) > 0 for group in groups))
        for flow in flows:
            flow.send(2 * BURST)
        time.sleep(OVERTAKING)
        look(flows)
    topo.wait_until(lambda: all_arrived(flows, 3 * BURST))


def out_of_order(namespace: str) -> int:
    """TCP segments that a namespace's kernel had to put aside until an earlier one came."""
    return load.inside(namespace, _out_of_order)


def _out_of_order() -> int:
    lines = Path("/proc/thread-self/net/netstat").read_text().splitlines()
    names, values = (line.split() for line in lines if line.startswith("TcpExt:"))
    return int(dict(zip(names, values, strict=True))["TCPOFOQueue"])


@pytest.mark.parametrize("worker", [0, 1])
def test_a_reply_moves_no_udp_flow(net: Net, worker: int) -> None:
    with ExitStack() as stack:
        flows = list(udp_flows(net, stack))
        begin(flows)
        tempt(net, flows, worker=worker)
        assert [flow.numbers for flow in flows] == [list(range(3 * BURST))] * FLOWS


def test_a_reply_moves_no_tcp_flow(both: Net) -> None:
    """After a pause, in which the kernel forgets the queue that acknowledgements came through."""
    target = both.pod(1).namespace
    with ExitStack() as stack:
        groups = [list(tcp_flows(net, stack)) for net in each(both)]
        flows = [flow for group in groups for flow in group]
        begin(flows)
        time.sleep(FORGOTTEN)
        before = out_of_order(target)
        tempt(both, *groups, worker=0)
        assert [flow.numbers for flow in flows] == [list(range(3 * BURST))] * len(flows)
        assert out_of_order(target) == before


def test_senders_on_the_move_with_traffic_both_ways(both: Net) -> None:
    """Numbered datagrams by threads that change their processor all the time."""
    one, other = both.pod(1), both.pod(2)
    paths = [
        Route(source.namespace, target.namespace, net.address(target), net.family, net.mtu)
        for source, target in ((one, other), (other, one))
        for net in each(both)
    ]
    with threads.restless(), ThreadPoolExecutor(len(paths)) as pool:
        runs = [
            pool.submit(load.datagrams, path, size=200, seconds=2, flows=8, rate=10_000 // SLOWER)
            for path in paths
        ]
        seen = [run.result() for run in runs]
    assert all(one.received > one.sent / 2 for one in seen), seen
    assert [(one.reordered, one.duplicate) for one in seen] == [(0, 0)] * len(paths)
