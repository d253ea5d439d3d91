# SPDX-License-Identifier: Apache-2.0
"""Every Pod from every Pod and every node: which pairs there are, what is measured, what is fine.

Pairs are measured one after another, so that each figure is of a path that had the machine to
itself.
"""

import time
from collections.abc import Callable, Iterator
from typing import Final

from msgspec import Struct

from fwd.lab import probes
from fwd.lab.probes import Direction, Ping, Stream
from fwd.lab.topology import NodeKind, Topology

# Per cent of 400 datagrams at 40 Mbit/s.  Queues of a lab's own hold more than these: a TUN 2,000,
# an agent's socket 4 MiB.  And what the receiver's own socket had no room for is taken off before
# (``probes.udp``).  Not 0 all the same, because on a busy machine
# - a processor's backlog (net.core.netdev_max_backlog, 1,000 packets), which all veths of the
#   machine share, may be full of somebody else's packets;
# - what is taken off is a share of all 400, and the loss one of those that iperf3 came to count,
#   which are fewer if it ends early.
UDP_LOSS_ALLOWED: Final = 2.0

# Seconds for the whole matrix; what is not measured by then has failed.
_LEAST: Final = 75.0
_PER_PAIR: Final = 5.0  # with two streams of a second each


class End(Struct, frozen=True):
    """One end of a pair: a Pod, or a node's own network."""

    name: str
    namespace: str
    kind: NodeKind
    pod: bool


class Pair(Struct, frozen=True):
    """Who reaches whom; the target is always a Pod, ``address`` is its."""

    source: End
    target: End
    family: int
    address: str


class Measured(Struct, frozen=True):
    """What came of a pair; None for what was not tried."""

    pair: Pair
    ping: Ping | None = None
    tcp: Stream | None = None
    tcp_back: Stream | None = None
    udp: Stream | None = None

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong, in a few words each; empty when the pair is fine."""
        return tuple(_problems(self))


class Matrix(Struct, frozen=True):
    """All pairs, and how many seconds they took together."""

    pairs: list[Measured]
    seconds: float

    @property
    def well(self) -> bool:
        """Whether there was something to measure and all of it is fine."""
        return bool(self.pairs) and not any(measured.problems for measured in self.pairs)


def pairs(topology: Topology) -> Iterator[Pair]:
    """All ordered pairs of Pods on different nodes, then each node with the others' Pods."""
    pods = [
        (node.index, End(pod.name, pod.namespace, node.kind, pod=True), pod)
        for node in topology.nodes
        for pod in node.pods
    ]
    nodes = [
        (node.index, End(node.name, node.namespace, node.kind, pod=False))
        for node in topology.nodes
    ]
    for plan in topology.plans:
        for sources in ([(index, end) for index, end, _ in pods], nodes):
            for home, source in sources:
                for index, target, pod in pods:
                    if index != home:
                        address = str(plan.pod(index, pod.index).ip)
                        yield Pair(source, target, plan.family, address)


def time_limit(count: int, *, seconds: int) -> float:
    """Seconds that a matrix of so many pairs may take: well over what a healthy one does."""
    return max(_LEAST, _PER_PAIR * count) + 2 * (seconds - 1) * count


def measure_all(
    topology: Topology, *, seconds: int, limit: float | None, say: Callable[[Pair, str], None]
) -> list[Measured]:
    """Measure every pair, until the time is up.

    Args:
        topology: a lab that is up.
        seconds: length of each TCP stream.
        limit: seconds for all of it; None for ``time_limit``.
        say: told each pair and what is measured now, before it is.
    """
    todo = list(pairs(topology))
    if limit is None:
        limit = time_limit(len(todo), seconds=seconds)
    deadline = time.monotonic() + limit
    done = []
    for pair in todo:
        if time.monotonic() < deadline:
            done.append(_measure(topology, pair, seconds=seconds, say=say))
        else:
            done.append(Measured(pair))
    return done


def _measure(
    topology: Topology, pair: Pair, *, seconds: int, say: Callable[[Pair, str], None]
) -> Measured:
    route = probes.Route(
        source=pair.source.namespace,
        target=pair.target.namespace,
        address=pair.address,
        family=pair.family,
        mtu=topology.path_mtu(pair.family),
    )
    say(pair, "ping")
    ping = probes.ping(route)
    if not ping.received:  # the rest would only wait for its time limits
        return Measured(pair, ping)
    say(pair, "TCP there")
    there = probes.tcp(route, seconds=seconds, direction=Direction.THERE)
    say(pair, "TCP back")
    back = probes.tcp(route, seconds=seconds, direction=Direction.BACK)
    say(pair, "UDP")
    return Measured(pair, ping, there, back, probes.udp(route))


def _problems(measured: Measured) -> Iterator[str]:
    ping = measured.ping
    if ping is None:
        yield "not measured: out of time"
        return
    if ping.error:
        yield f"ping: {ping.error}"
    elif ping.received < ping.sent:
        yield f"ping: {ping.sent - ping.received} of {ping.sent} lost"
    streams = {"TCP there": measured.tcp, "TCP back": measured.tcp_back, "UDP": measured.udp}
    for name, stream in streams.items():
        if stream is None:
            continue
        if stream.error:
            yield f"{name}: {stream.error}"
        elif stream.gbit <= 0:
            yield f"{name}: nothing arrived"
        elif (stream.lost_percent or 0.0) > UDP_LOSS_ALLOWED:
            yield f"{name}: {stream.lost_percent:.1f} % lost"
