# SPDX-License-Identifier: Apache-2.0
"""The machine that is measured on: what it is, and what its processors did meanwhile."""

import datetime as dt
import importlib.metadata
import os
import platform
import re
import time
from pathlib import Path
from typing import Any, Final, Self

from msgspec import Struct

import fwd
from fwd.bench import traffic
from fwd.bench.contenders import Running
from fwd.lab import agentproc, child, congestion, survey
from fwd.lab.state import State

_TICK: Final = 1 / os.sysconf("SC_CLK_TCK")
_LOOK: Final = 0.1  # seconds


class CpuTimes(Struct, frozen=True):
    """Seconds of all processors together, since boot or between two readings."""

    busy: float
    idle: float
    stolen: float

    def __sub__(self, before: Self) -> "CpuTimes":
        return CpuTimes(
            self.busy - before.busy, self.idle - before.idle, self.stolen - before.stolen
        )

    @property
    def total(self) -> float:
        """All of it."""
        return self.busy + self.idle + self.stolen

    @property
    def busy_share(self) -> float:
        """0 to 1; none while no tick has passed."""
        return self.busy / self.total if self.total else 0.0

    @property
    def stolen_share(self) -> float:
        """0 to 1: what the hypervisor gave to somebody else."""
        return self.stolen / self.total if self.total else 0.0


def cpu_times() -> CpuTimes:
    """Where the processors' time went since boot; see proc_stat(5)."""
    with Path("/proc/stat").open(encoding="ascii") as stat:
        return read_cpu_times(stat.readline())


def read_cpu_times(line: str) -> CpuTimes:
    """The first line of /proc/stat; guests' time is in user's already."""
    user, nice, system, idle, iowait, irq, softirq, steal = map(int, line.split()[1:9])
    busy = user + nice + system + irq + softirq
    return CpuTimes(busy * _TICK, (idle + iowait) * _TICK, steal * _TICK)


def load_now() -> float:
    """Share of the processors, 0 to 1, that is busy while nothing of ours is."""
    before = cpu_times()
    time.sleep(_LOOK)
    return (cpu_times() - before).busy_share


def processors_apart() -> int:
    """Nanoseconds between the first and the last processor's cache, there and back; 0: unknown."""
    usable = sorted(os.sched_getaffinity(0))
    try:
        return traffic.apart(usable[0], usable[-1]) if len(usable) > 1 else 0
    except OSError:
        return 0


class Agent(Struct, frozen=True):
    """An agent of a contender: its memory, and what it says is in force."""

    node: str
    rss_mib: float
    workers: int | None
    offloads: tuple[str, ...]


class Machine(Struct, frozen=True):
    """Where and with what was measured."""

    time: str
    cores: int
    cpu: str
    kernel: str
    memory_gib: float
    python: str
    fwd: str
    commit: str | None
    iperf3: str
    congestion_control: str


def describe() -> Machine:
    """This machine."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return Machine(
        time=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        cores=len(os.sched_getaffinity(0)),
        cpu=_cpu_model(),
        kernel=f"{platform.release()} {platform.machine()}",
        memory_gib=round(pages / (1 << 30), 1),
        python=platform.python_version(),
        fwd=importlib.metadata.version("fwd"),
        commit=_commit(),
        iperf3=child.run(["iperf3", "--version"]).out.partition("\n")[0].removeprefix("iperf "),
        congestion_control="cubic" if congestion.has_cubic() else "the system's",
    )


def agents(running: Running) -> tuple[Agent, ...]:
    """Those of a contender that has any."""
    known = running.state_dir.load()
    if not isinstance(known, State):
        return ()
    found = []
    for node in running.topology.nodes:
        process = known.agents.get(node.name)
        if process and agentproc.alive(process):
            said = survey.ask(running.state_dir.of_node(node.namespace) / "fwd.sock") or {}
            tunnel: dict[str, Any] = next(iter(said.get("tunnels", ())), {})
            text = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
            rss = re.search(r"^VmRSS:\s+(\d+) kB", text, re.MULTILINE)
            found.append(
                Agent(
                    node=node.name,
                    rss_mib=round(int(rss[1]) / 1024, 1) if rss else 0.0,
                    workers=tunnel.get("workers"),
                    offloads=tuple(tunnel.get("offloads", {}).get("in-force", ())),
                )
            )
    return tuple(found)


def _cpu_model() -> str:
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    name = re.search(r"^model name\s*: (.+)$", text, re.MULTILINE)
    return name[1] if name else platform.machine()


def _commit() -> str | None:
    """Of the source tree that this runs from, if it does."""
    root = Path(fwd.__path__[0]).resolve().parent
    if not (root / ".git").exists():
        return None
    try:
        done = child.run(["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=10"])
    except OSError:
        return None
    return done.out.strip() or None
