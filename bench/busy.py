# SPDX-License-Identifier: Apache-2.0
"""What an agent's CPU request does on a node that is busy: python -m bench.busy [--rounds N] ...

Two nodes on this machine, and a loop that computes for each processor, of a Pod that requests all
of them.  The agents have the share that kubelet gives for a request (cpu.shares or cpu.weight), one
after the other; the Pods that talk request one processor.  Then the same through the kernel's
vxlan, which works in whoever sends.  Root; two minutes.
"""

import argparse
import math
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from socket import SOCK_DGRAM
from typing import Final

from msgspec import Struct
from rich.console import Console
from rich.table import Table

from fwd.bench import traffic
from fwd.bench.contenders import BASELINE, KNOWN, Running, Shape, built
from fwd.lab import agentproc, netns, probes
from fwd.lab.probes import Direction
from fwd.lab.topology import Wiring

REQUESTS: Final = (100, 250, 500, 1000, 2000)
"""Of the agents, thousandths of a processor."""
_PODS_REQUEST: Final = 1000
_V1, _V2 = Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup")
_LOOP: Final = "import signal; signal.alarm(600)\nwhile True: pass"
_SIZE: Final = 64


class Figures(Struct, frozen=True):
    """Of one measurement: round trips a second, one at a time; us; Gbit/s."""

    trips: float
    p99: float
    gbit: float


class Group:
    """A control group with the share of a processor that kubelet gives for a request."""

    def __init__(self, path: Path, millis: int) -> None:
        self._path = path
        path.mkdir(exist_ok=True)
        self.request(millis)

    def request(self, millis: int) -> None:
        """As kubelet: cpu.shares, and cpu.weight as it converts that (KEP-2254)."""
        shares = max(2, millis * 1024 // 1000)
        if (self._path / "cpu.shares").exists():
            (self._path / "cpu.shares").write_text(str(shares))
        else:
            (self._path / "cpu.weight").write_text(str(1 + (shares - 2) * 9999 // 262142))

    def take(self, pid: int) -> None:
        """That process and what it starts from now on."""
        with suppress(ProcessLookupError):  # it was a short one
            (self._path / "cgroup.procs").write_text(str(pid))


@contextmanager
def groups(*names: str) -> Iterator[list[Group]]:
    """Groups side by side, as Pods' are; whoever is in one at the end leaves it."""
    root = _V1 if (_V1 / "cpu.shares").exists() else _V2
    if root == _V2:
        (root / "cgroup.subtree_control").write_text("+cpu")
    top = root / f"fwd-busy-{os.getpid()}"
    home = (
        root
        if root == _V1
        else root / Path("/proc/self/cgroup").read_text().split("::/")[-1].strip()
    )
    try:
        top.mkdir()
        if root == _V2:
            (top / "cgroup.subtree_control").write_text("+cpu")
        yield [Group(top / name, _PODS_REQUEST) for name in names]
    finally:
        for path in (*(top / name for name in names), top):
            with suppress(FileNotFoundError):
                for pid in (path / "cgroup.procs").read_text().split():
                    with suppress(ProcessLookupError):
                        (home / "cgroup.procs").write_text(pid)
                path.rmdir()


@contextmanager
def loops(group: Group) -> Iterator[None]:
    """One for each processor, which ends by itself at the latest after ten minutes."""
    cpus = len(os.sched_getaffinity(0))
    group.request(_PODS_REQUEST * cpus)
    running = [subprocess.Popen([sys.executable, "-c", _LOOP]) for _ in range(cpus)]
    try:
        for one in running:
            group.take(one.pid)
        yield
    finally:
        for one in running:
            one.kill()
            one.wait()


def measured(running: Running, seconds: int) -> Figures:
    """One after the other, from a Pod to one of the other node."""
    path = running.path()
    done = traffic.round_trips(path, kind=SOCK_DGRAM, size=_SIZE, seconds=seconds)
    stream = probes.tcp(path, seconds=seconds, direction=Direction.THERE)
    if stream.error:
        raise SystemExit(f"{running.contender.name}: {stream.error}")
    p99 = done.percentile(0.99) if done.ns else math.inf
    return Figures(len(done.ns) / seconds, p99, stream.gbit)


def rounds(times: int, seconds: int, console: Console) -> dict[str, list[Figures]]:
    """By what is measured, in its order, of each round."""
    shape = Shape(f"fwdy{os.getpid() % 1000}", 1500, (4,), Wiring.VETH)
    found: dict[str, list[Figures]] = {}
    with ExitStack() as stack:
        *agents, busy, pods = stack.enter_context(groups("agent1", "agent2", "busy", "pods"))
        ours, kernels = (
            stack.enter_context(built(KNOWN[name], shape, say=console.print))
            for name in ("fwd", BASELINE)
        )
        for agent, node in zip(agents, ours.topology.nodes, strict=True):
            for process in agentproc.inside([netns.path(node.namespace)]):
                agent.take(process.pid)
        pods.take(os.getpid())
        for number in range(times):
            with console.status(f"round {number + 1} of {times}"):
                for label, wanted in (
                    ("nobody computes", ours),
                    ("kernel, nobody computes", kernels),
                ):
                    found.setdefault(label, []).append(measured(wanted, seconds))
                with loops(busy):
                    for millis in REQUESTS:
                        for agent in agents:
                            agent.request(millis)
                        found.setdefault(f"{millis}m", []).append(measured(ours, seconds))
                    found.setdefault(BASELINE, []).append(measured(kernels, seconds))
    return found


def main() -> None:
    """Measures and shows medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=2, help="of each measurement")
    args = parser.parse_args()
    console = Console()
    table = Table("agents request", "round trips a second", "p99, us", "one stream, Gbit/s")
    for label, figures in rounds(args.rounds, args.seconds, console).items():
        trips, p99, gbit = (
            statistics.median(column)
            for column in zip(*((one.trips, one.p99, one.gbit) for one in figures), strict=True)
        )
        table.add_row(label, f"{trips:,.0f}", f"{p99:,.0f}", f"{gbit:.2f}")
    console.print(table)


if __name__ == "__main__":
    main()
