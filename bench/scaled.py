# SPDX-License-Identifier: Apache-2.0
"""What the measurements of one agent in a large cluster have in common.

The agent runs in a network namespace of its own whose underlay leads nowhere.  CPU is its whole
process over wall-clock time, RssAnon what its own pages take; a peak is the highest of samples
taken every 5 ms.
"""

import argparse
import asyncio
import contextlib
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from fwd.lab import building, netns, signals, state, steps
from fwd.lab.errors import Interrupted
from fwd.lab.program import exit_code

ROOT: Final = Path(__file__).resolve().parents[1]
LIMIT_SECONDS: Final = 60.0
_UNDERLAY: Final = (
    "link set lo up",
    "link add wire0 type veth peer name wire1",
    "link set wire0 arp off",
    "address add 192.168.0.1/24 dev wire0",
    "link set wire0 up",
    "link set wire1 up",
    "route add default dev wire0",
)
_PATIENCE: Final = 20.0
"""Seconds for the inner program to end what it has begun."""


def cpu_seconds(pid: int) -> float:
    """A process's, user and system."""
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")


class Agent:
    """`fwd run` as a child, and what /proc says of it."""

    def __init__(self, directory: Path, flags: Sequence[str]) -> None:
        self._log = directory / f"{time.monotonic_ns()}.log"
        command = [sys.executable, "-m", "fwd", "run", *flags]
        command += [f"--run-dir={directory}", f"--subnet-file={directory / 'subnet.env'}"]
        self.begun = time.monotonic()
        with self._log.open("wb") as stderr:
            self.process = subprocess.Popen(command, stderr=stderr, cwd=ROOT)

    def lines(self, event: str) -> int:
        """How often it said so."""
        return self._log.read_text().count(f" event={event} ")

    async def said(self, event: str, times: int = 1) -> float:
        """Seconds from its start until it had said so."""
        await self.until(lambda: self.lines(event) >= times, event)
        return time.monotonic() - self.begun

    async def until(self, done: Callable[[], bool], what: str) -> None:
        """Polls every 2 ms."""
        end = time.monotonic() + LIMIT_SECONDS
        while not done():
            if self.process.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"{what} did not come:\n{self._log.read_text()}")
            await asyncio.sleep(0.002)

    @property
    def memory(self) -> float:
        """RssAnon in MiB."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(text.partition("RssAnon:")[2].split()[0]) / 1024

    @property
    def cpu_seconds(self) -> float:
        """User and system."""
        return cpu_seconds(self.process.pid)

    async def stop(self, number: int = signal.SIGTERM) -> None:
        """Ends it."""
        self.process.send_signal(number)
        await asyncio.to_thread(self.process.wait, 10)


class Peak:
    """The highest memory that was seen."""

    def __init__(self, agent: Agent) -> None:
        self.value = 0.0
        self._agent = agent
        self._task = asyncio.create_task(self._sample())

    async def _sample(self) -> None:
        while self._agent.process.poll() is None:
            with contextlib.suppress(OSError, IndexError):
                self.value = max(self.value, self._agent.memory)
            await asyncio.sleep(0.005)


def told(delays: Sequence[float]) -> str:
    """Seconds in one cell."""
    median, worst = statistics.median(delays) * 1000, max(delays) * 1000
    return f"median {median:.0f} ms, worst {worst:.0f} ms"


@contextlib.contextmanager
def prepared(namespace: str) -> Iterator[None]:
    """A namespace with an underlay that leads nowhere, removed in the end with all that runs there.

    So is what an earlier run left of it; another that runs still is not disturbed.

    Raises:
        LabError: there is another one, or it cannot be made.
    """
    with state.default(namespace).locked():
        building.dismantle([namespace])
        try:
            netns.create([namespace])
            netns.apply(namespace, map(steps.ip, _UNDERLAY))
            yield
        finally:
            with signals.shielded():
                building.dismantle([namespace])


def main(
    module: str,
    namespace: str,
    parser: argparse.ArgumentParser,
    measure: Callable[[Path, argparse.Namespace], Coroutine[Any, Any, Table]],
) -> int:
    """Prints what a module measures, which runs itself again within a prepared namespace."""
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()

    def show() -> int:
        with tempfile.TemporaryDirectory(prefix="fwdbench-", dir="/dev/shm") as directory:
            Console().print(asyncio.run(measure(Path(directory), asked)))
        return 0

    def again() -> int:
        words = [sys.executable, "-m", module, *sys.argv[1:], "--inside"]
        with prepared(namespace):
            return ended(netns.inside(namespace, *words))

    return exit_code(module, show if asked.inside else again)


def ended(words: Sequence[str]) -> int:
    """The exit code of a program that is told of the signal which ends this one, and waited for."""
    # In a session of its own: Ctrl-C comes to it from here, and once.
    inner = subprocess.Popen(words, cwd=ROOT, start_new_session=True)
    try:
        return inner.wait()
    except Interrupted as interrupted:
        with signals.shielded():
            inner.send_signal(interrupted.signum)
            with contextlib.suppress(subprocess.TimeoutExpired):
                inner.wait(_PATIENCE)
        raise
