# SPDX-License-Identifier: Apache-2.0
"""Several workers and several flows at once: all arrives, and in no flow one overtakes another."""

import os
import struct
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from tests.netns import threads, topo, traffic
from tests.netns.sockets import SOL_UDP, UDP_SEGMENT
from tests.netns.topo import Net
from tests.netns.traffic import MEGABYTE

pytestmark = [pytest.mark.netns, pytest.mark.root]

FLOWS = 8
BATCHES = 60
EACH = 40  # datagrams in a batch
CPUS = sorted(os.sched_getaffinity(0))[:2]
SIZE = 1000


@pytest.fixture(scope="module", params=[2, 4])
def both(request: pytest.FixtureRequest) -> Iterator[Net]:
    cpus = f"--worker-cpus={','.join(map(str, CPUS))}"
    with topo.built(families=(4, 6), args=("--workers", str(request.param), cpus)) as net:
        assert [net.tunnel(index).workers for index in (1, 2)] == [request.param] * 2
        yield net


@pytest.mark.parametrize("source", [2, 3], ids=["from fwd", "from the kernel"])
def test_flows_keep_their_order(net: Net, source: int) -> None:
    """Datagrams in bursts of 40 x 8; what a busy machine reads too late may be lost."""
    pod, sender = net.pod(1), net.pod(source).namespace
    sent = traffic.numbered(BATCHES * EACH, SIZE)
    control = [(SOL_UDP, UDP_SEGMENT, struct.pack("H", SIZE))]
    with ExitStack() as stack, ThreadPoolExecutor(FLOWS) as pool:
        servers = [stack.enter_context(net.udp_in(pod.namespace)) for _ in range(FLOWS)]
        clients = [stack.enter_context(net.udp_in(sender)) for _ in range(FLOWS)]
        for client, server in zip(clients, servers, strict=True):
            client.connect((net.address(pod), server.getsockname()[1]))
        got = [pool.submit(traffic.receive, server, len(sent)) for server in servers]
        for at in range(0, len(sent), EACH):
            for client in clients:
                client.sendmsg([b"".join(sent[at : at + EACH])], control)
            time.sleep(0.001)
        for future in got:
            numbers = [struct.unpack_from("!I", one)[0] for one in future.result()]
            assert len(numbers) > len(sent) / 2
            assert numbers == sorted(set(numbers))
            assert all(
                sent[number] == one for number, one in zip(numbers, future.result(), strict=True)
            )


def test_each_worker_has_its_processor(both: Net) -> None:
    pid, count = both.agent_pid(1), both.tunnel(1).workers
    for number in range(count):
        where = [os.sched_getaffinity(tid) for tid in threads.workers(pid, number)]
        assert where == [{CPUS[number % len(CPUS)]}] * len(both.plan.spec.families)
    assert len(os.sched_getaffinity(pid)) == len(os.sched_getaffinity(0))


def test_paced_flows_arrive_whole(net: Net) -> None:
    pod = net.pod(1)
    ends = net.pod(2).namespace, pod.namespace, net.address(pod)
    with ThreadPoolExecutor(FLOWS) as pool:
        streams = [
            pool.submit(traffic.udp_stream, *ends, count=500, size=size)
            for size in range(64, 64 + FLOWS)
        ]
        for stream in streams:
            stream.result()


def test_flows_to_two_peers_do_not_mix(net: Net) -> None:
    """They share sending sockets, but what is packed together goes to one peer."""
    sent = traffic.numbered(200, SIZE)
    with ExitStack() as stack:
        flows = []
        for pod in (net.pod(2), net.pod(3)) * FLOWS:
            server = stack.enter_context(net.udp_in(pod.namespace))
            client = stack.enter_context(net.udp_in(net.pod(1).namespace))
            client.connect((net.address(pod), server.getsockname()[1]))
            flows.append((client, server))
        for at in range(0, len(sent), EACH):  # so many as a queue holds
            some = sent[at : at + EACH]
            for payload in some:
                for client, _ in flows:
                    client.send(payload)
            for _, server in flows:
                traffic.assert_same(traffic.receive(server, len(some)), some)
    for index in (1, 2):
        assert topo.drops_of(net.tunnel(index).counters) == {}


def test_tcp_connections_side_by_side(net: Net) -> None:
    with ThreadPoolExecutor(FLOWS) as pool:
        exchanges = []
        for source, target in [(2, 1), (3, 1), (1, 2), (1, 3)] * 2:
            pod = net.pod(target)
            ends = net.pod(source).namespace, pod.namespace, net.address(pod)
            exchanges.append(pool.submit(traffic.tcp_exchange, *ends, size=2 * MEGABYTE))
        for exchange in exchanges:
            exchange.result()


def test_the_work_was_shared(net: Net) -> None:
    """Else the tests above, which come first, would not test it."""
    for index, name in ((1, "in_packets"), (2, "out_packets")):
        shares = [counters[name] for counters in net.tunnel(index).worker_counters]
        assert sum(share > 0 for share in shares) > 1, shares
    for index in (1, 2):
        topo.assert_balanced(topo.Counting(net, index).total_at_rest())
