# SPDX-License-Identifier: Apache-2.0
"""What an agent's CPU request does on a node that is busy: python -m bench.busy [--rounds N] ...

Two nodes on this machine, and a loop that computes for each processor, of a Pod that requests all
of them.  The agents have the share that kubelet gives for a request, one after the other; the Pods
that talk request one processor.  Then the same through the kernel's vxlan, which works in whoever
sends.  Root; two minutes.

All these requests together are more than there are processors, and what kubelet gives for one
(cpu.shares, cpu.weight) is relative (`bench.cpugroups`): 1000m is less than a processor here.  So
beside each request stands what an agent is sure of, in processors: how many there are, times its
request, by the sum of all requests (both agents', the talking Pods', the loops' while they run).
"""

import argparse
import math
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from socket import SOCK_DGRAM
from typing import Final

from msgspec import Struct
from rich.console import Console
from rich.table import Table

from bench.cpugroups import Group, groups, sure
from fwd.bench import traffic
from fwd.bench.contenders import BASELINE, KNOWN, Running, Shape, built
from fwd.lab import agentproc, netns, probes, signals
from fwd.lab.probes import Direction
from fwd.lab.program import exit_code
from fwd.lab.topology import Wiring

REQUESTS: Final = (100, 250, 500, 1000, 2000)
"""Of the agents, thousandths of a processor."""
_AGENTS: Final = ("agent1", "agent2")
_PODS_REQUEST: Final = 1000
# One name for all runs: each removes what an earlier one left, and two at a time exclude each other
# (contenders.built locks its lab).
_PREFIX: Final = "fwdbusy"
_LOOP: Final = "import signal, sys\nsignal.alarm(int(sys.argv[1]))\nwhile True: pass"
_SLACK: Final = 20  # seconds that a measurement takes at most beyond its own
_SIZE: Final = 64


class Figures(Struct, frozen=True):
    """Of one measurement: round trips a second, one at a time; us; Gbit/s."""

    trips: float
    p99: float
    gbit: float


class Row(Struct, frozen=True):
    """What is measured; `millis` of each agent's request, None where no agent has a part in it."""

    text: str
    millis: int | None
    is_busy: bool

    @property
    def cells(self) -> tuple[str, str, str]:
        """What it is, what an agent requests, and what it is sure of."""
        if self.millis is None:
            return (self.text, "", "")
        cpus = _cpus()
        loops_request = _PODS_REQUEST * cpus * self.is_busy
        requests = [*(self.millis for _ in _AGENTS), _PODS_REQUEST, loops_request]
        return (
            self.text,
            f"{self.millis}m",
            f"{sure(self.millis, requests=requests, cpus=cpus):.2f}",
        )


_CALM: Final = Row("fwd, nobody computes", REQUESTS[0], is_busy=False)
_KERNELS_CALM: Final = Row(f"{BASELINE}, nobody computes", None, is_busy=False)
_BUSY: Final = tuple(Row("fwd", millis, is_busy=True) for millis in REQUESTS)
_KERNELS_BUSY: Final = Row(BASELINE, None, is_busy=True)


def _cpus() -> int:
    return len(os.sched_getaffinity(0))


def loops_limit(seconds: int) -> int:
    """Seconds that the loops have to last: for all that is measured beside them."""
    return (len(_BUSY) + 1) * (2 * seconds + _SLACK)


@contextmanager
def loops(group: Group, limit: int) -> Iterator[list["subprocess.Popen[bytes]"]]:
    """One for each processor, which ends by itself at the latest after so many seconds."""
    group.request(_PODS_REQUEST * _cpus())
    running: list[subprocess.Popen[bytes]] = []
    try:
        for _ in range(_cpus()):
            with signals.shielded():  # or one that nobody ends would go on computing
                running.append(subprocess.Popen([sys.executable, "-c", _LOOP, str(limit)]))
            group.take(running[-1].pid)
        yield running
    finally:
        for one in running:
            one.kill()
            one.wait()


def require_running(started: Sequence["subprocess.Popen[bytes]"], what: str) -> None:
    """What was measured is not of a busy node unless all loops run still."""
    ended = sum(one.poll() is not None for one in started)
    if ended:
        raise SystemExit(f"{what}: {ended} of {len(started)} loops ended before the measurement")


def measured(running: Running, seconds: int) -> Figures:
    """One after the other, from a Pod to one of the other node."""
    path = running.path()
    done = traffic.round_trips(path, kind=SOCK_DGRAM, size=_SIZE, seconds=seconds)
    stream = probes.tcp(path, seconds=seconds, direction=Direction.THERE)
    if stream.error:
        raise SystemExit(f"{running.contender.name}: {stream.error}")
    p99 = done.percentile(0.99) if done.ns else math.inf
    return Figures(len(done.ns) / seconds, p99, stream.gbit)


def rounds(times: int, seconds: int, console: Console) -> dict[Row, list[Figures]]:
    """By what is measured, in its order, of each round."""
    shape = Shape(_PREFIX, 1500, (4,), Wiring.VETH)
    found: dict[Row, list[Figures]] = {}
    with ExitStack() as stack:
        ours, kernels = (
            stack.enter_context(built(KNOWN[name], shape, say=console.print))
            for name in ("fwd", BASELINE)
        )
        # After the labs, whose locks keep others off these groups.
        names = (*_AGENTS, "busy", "pods")
        *agents, busy, pods = stack.enter_context(groups(*names, millis=_PODS_REQUEST))
        for agent, node in zip(agents, ours.topology.nodes, strict=True):
            for process in agentproc.inside([netns.path(node.namespace)]):
                agent.take(process.pid)
        pods.take(os.getpid())

        def measure(row: Row) -> None:
            for agent in agents:
                agent.request(row.millis or REQUESTS[0])
            wanted = kernels if row.millis is None else ours
            found.setdefault(row, []).append(measured(wanted, seconds))

        for number in range(times):
            with console.status(f"round {number + 1} of {times}"):
                measure(_CALM)
                measure(_KERNELS_CALM)
                with loops(busy, loops_limit(seconds)) as started:
                    for row in (*_BUSY, _KERNELS_BUSY):
                        measure(row)
                        require_running(started, " ".join(row.cells[:2]).strip())
    return found


def show(times: int, seconds: int) -> int:
    """Measures and shows medians."""
    console = Console(width=110 if not sys.stdout.isatty() else None)
    table = Table(title=f"{_cpus()} processors")
    for column in (
        *("", "an agent requests", "and is sure of, processors"),
        *("round trips a second", "p99, us", "one stream, Gbit/s"),
    ):
        table.add_column(column, justify="right" if column else "left", no_wrap=not column)
    for row, figures in rounds(times, seconds, console).items():
        trips, p99, gbit = (
            statistics.median(column)
            for column in zip(*((one.trips, one.p99, one.gbit) for one in figures), strict=True)
        )
        table.add_row(*row.cells, f"{trips:,.0f}", f"{p99:,.0f}", f"{gbit:.2f}")
    console.print(table)
    return 0


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=2, help="of each measurement")
    args = parser.parse_args()
    return exit_code("bench.busy", lambda: show(args.rounds, args.seconds))


if __name__ == "__main__":
    raise SystemExit(main())
