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
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

ROOT: Final = Path(__file__).resolve().parents[1]
LIMIT_SECONDS: Final = 60.0


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


@contextlib.contextmanager
def prepared(namespace: str) -> Iterator[None]:
    """A namespace with an underlay that leads nowhere, removed in the end."""

    def ip(*words: str, check: bool = True) -> None:
        subprocess.run(["ip", *words], check=check, capture_output=not check, timeout=10)

    ip("netns", "del", namespace, check=False)
    ip("netns", "add", namespace)
    try:
        for words in (
            "link set lo up",
            "link add wire0 type veth peer name wire1",
            "link set wire0 arp off",
            "address add 192.168.0.1/24 dev wire0",
            "link set wire0 up",
            "link set wire1 up",
            "route add default dev wire0",
        ):
            ip("-n", namespace, *words.split())
        yield
    finally:
        ip("netns", "del", namespace, check=False)


def main(
    module: str,
    namespace: str,
    parser: argparse.ArgumentParser,
    measure: Callable[[Path, argparse.Namespace], Coroutine[Any, Any, Table]],
) -> int:
    """Prints what a module measures, which runs itself again within a prepared namespace."""
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if not asked.inside:
        with prepared(namespace):
            again = [sys.executable, "-m", module, *sys.argv[1:], "--inside"]
            entered = ["ip", "netns", "exec", namespace, *again]
            return subprocess.run(entered, check=False, cwd=ROOT).returncode
    with tempfile.TemporaryDirectory(prefix="fwdbench-", dir="/dev/shm") as directory:
        Console().print(asyncio.run(measure(Path(directory), asked)))
    return 0
