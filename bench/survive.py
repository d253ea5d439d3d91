# SPDX-License-Identifier: Apache-2.0
"""What upgrades and crashes of an agent cost under load: python -m bench.survive [--times N] ...

Two nodes joined by a veth; from the first to the second numbered datagrams, a TCP connection at a
steady pace, and a probe every two milliseconds whose arrivals say how long nothing came through.
An upgrade starts another agent beside the one that runs; a crash is SIGKILL.  Root; some minutes.
"""

import argparse
import itertools
import os
import signal
import socket
import statistics
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, Protocol

from rich.console import Console
from rich.table import Table

from bench import losses
from bench.cluster import built
from fwd.bench import traffic
from fwd.lab.probes import Route
from fwd.lab.program import exit_code
from tests.netns.agent_support import Agent, Cluster
from tests.netns.flows import Stream

_PROBE: Final = 0.002
_NUMBER: Final = struct.Struct("!I")


class Probe:
    """Arrivals of small datagrams; their gaps are outages."""

    def __init__(self, path: Route) -> None:
        self._target = traffic.bound(path, socket.SOCK_DGRAM)
        self._source = traffic.connected(path, self._target)
        self._target.settimeout(0.5)
        self._stop = threading.Event()
        self.arrivals: list[float] = []
        self._pool = ThreadPoolExecutor(2)
        self._pool.submit(self._send)
        self._pool.submit(self._receive)

    def _send(self) -> None:
        number = 0
        while not self._stop.wait(_PROBE):
            self._source.send(_NUMBER.pack(number))
            number += 1

    def _receive(self) -> None:
        while not self._stop.is_set():
            try:
                self._target.recv(64)
            except TimeoutError:
                continue
            self.arrivals.append(time.monotonic())

    def outage(self, begin: float, end: float) -> float:
        """The longest time without an arrival, seconds."""
        times = [begin, *(one for one in self.arrivals if begin < one < end), end]
        return max(b - a for a, b in itertools.pairwise(times))

    def close(self) -> None:
        """Ends both threads."""
        self._stop.set()
        self._pool.shutdown()
        self._source.close()
        self._target.close()


def child_of(pid: int) -> int:
    """The agent of a supervisor."""
    path = Path(f"/proc/{pid}/task/{pid}/children")
    end = time.monotonic() + 5
    while not (words := path.read_text().split()):
        if time.monotonic() > end:
            raise SystemExit("the supervisor has no agent")
        time.sleep(0.01)
    return int(words[0])


class Upgrades:
    """Another agent beside the one that runs."""

    name = "upgrade"

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._agent = cluster.started("n1")

    def do(self) -> None:
        """One."""
        new = self._cluster.start("n1")
        new.says("taken-over")
        self._agent.ended()
        self._agent = new


class Crashes:
    """SIGKILL under a supervisor."""

    name = "crash, supervised"

    def __init__(self, cluster: Cluster) -> None:
        self._agent = cluster.started("n1", "--supervise")

    def do(self) -> None:
        """One."""
        os.kill(child_of(self._agent.pid), signal.SIGKILL)


class Alone:
    """SIGKILL, and whoever started it starts it again at once."""

    name = "crash, alone"

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._agent: Agent = cluster.started("n1")

    def do(self) -> None:
        """One."""
        self._agent.stop(signal.SIGKILL)
        self._agent = self._cluster.start("n1")


@contextmanager
def nodes() -> Iterator[Cluster]:
    """The two, and all that runs on them."""
    with tempfile.TemporaryDirectory(prefix="fwd-survive-") as directory:
        made = Cluster(Path(directory))
        made.python = ()  # as in production
        with built(made):
            yield made


class Blow(Protocol):
    """Something that befalls an agent."""

    name: str

    def do(self) -> None:
        """Once."""


KINDS: Final[dict[str, Callable[[Cluster], Blow]]] = {
    "upgrade": Upgrades,
    "crash": Crashes,
    "alone": Alone,
}


def measure(
    what: Callable[[Cluster], Blow], *, times: int, rate: int, every: float
) -> tuple[str, ...]:
    """One row: what, times, sent, lost, reordered, sent again, outages."""
    with ExitStack() as stack:
        made = stack.enter_context(nodes())
        path = Route(
            source=made.n1.name, target=made.n2.name, address="10.244.2.0", family=4, mtu=1450
        )
        peer = made.started("n2")
        doing = what(made)
        if not made.n1.pings("10.244.2.0"):
            raise SystemExit("the nodes do not reach each other")
        stream = Stream(path)
        stack.callback(stream.close)
        probe = Probe(path)
        stack.callback(probe.close)
        seconds = (times + 1) * every
        # Ends with what goes on beside it, however that ends: an interruption waits for no load.
        with traffic.flowing(path, size=64, seconds=seconds, rate=rate, flows=4) as load:
            time.sleep(every / 2)
            outages = befall(
                doing, probe, times=times, every=every, lost=lambda: lost_so_far(made, peer)
            )
            load.wait()
        return row(doing.name, load.so_far(), again=stream.end(), outages=outages)


def lost_so_far(made: Cluster, peer: Agent) -> dict[str, int]:
    """By place and reason: of both nodes, and of the agent that stays."""
    return losses.counted({"n1": made.n1, "n2": made.n2}) | losses.of_agent("n2", peer)


def befall(
    doing: Blow, probe: Probe, *, times: int, every: float, lost: Callable[[], dict[str, int]]
) -> list[float]:
    """The blows, one after the other; the outage by each in milliseconds, which is printed, too."""
    outages = []
    before = lost()
    for _ in range(times):
        begin = time.monotonic()
        doing.do()
        time.sleep(max(0.0, begin + every - time.monotonic()))
        outages.append(1000 * probe.outage(begin, begin + every))
        after = lost()
        print(f"{doing.name}: {outages[-1]:.1f} ms; lost at: {losses.told(before, after)}")
        before = after
    return outages


def row(
    name: str, got: traffic.Datagrams, *, again: int, outages: Sequence[float]
) -> tuple[str, ...]:
    """What `show` has columns for."""
    ordered = sorted(outages)
    p95 = ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
    return (
        name,
        str(len(ordered)),
        f"{got.sent_rate:,.0f}",
        f"{got.sent:,}",
        f"{got.sent - got.received:,}",
        str(got.reordered),
        str(got.duplicate),
        str(again),
        f"{statistics.median(ordered):.0f}",
        f"{p95:.0f}",
        f"{ordered[-1]:.0f}",
    )


def show(options: argparse.Namespace) -> int:
    """Measures, and prints the table."""
    table = Table(title="from one node to the other; outages in milliseconds")
    for column in (
        *("what", "times", "datagrams/s", "sent", "lost", "reordered", "twice", "TCP again"),
        *("outage p50", "p95", "max"),
    ):
        table.add_column(column, justify="left" if column == "what" else "right")
    try:
        for name in options.only or KINDS:
            table.add_row(
                *measure(KINDS[name], times=options.times, rate=options.rate, every=options.every)
            )
    finally:  # what has been measured is told, whatever ends the rest
        Console(width=120 if not sys.stdout.isatty() else None).print(table)
    return 0


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(description="What upgrades and crashes cost under load.")
    parser.add_argument("--times", type=int, default=20, help="of each (default: 20)")
    parser.add_argument("--rate", type=int, default=50_000, help="datagrams a second")
    parser.add_argument("--every", type=float, default=6.0, help="seconds from one to the next")
    parser.add_argument("--only", choices=list(KINDS), action="append")
    options = parser.parse_args()
    return exit_code("bench.survive", lambda: show(options))


if __name__ == "__main__":
    raise SystemExit(main())
