# SPDX-License-Identifier: Apache-2.0
"""Labs for tests: `fwd lab` as a child process, with a prefix of the test's own.

Whatever a test leaves is removed; that the lab itself leaves nothing is asserted with `leftovers`.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from fwd.lab import agentproc, cni, netns
from tests.netns.names import own
from tests.unable import leave_out

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = "import sys; from fwd.lab.cli import main; sys.exit(main(sys.argv[1:]))"


def cannot_run(*, fwd: bool) -> str | None:
    """Why a lab cannot be built on this machine; None if it can."""
    if os.geteuid() != 0:
        return "needs root"
    missing = [
        name for name in ("ip", "bridge", "nft", "ping", "iperf3") if shutil.which(name) is None
    ]
    if missing:
        return f"needs {', '.join(missing)}"
    if cni.plugins() is None:
        return f"needs {', '.join(cni.NEEDED)} (containernetworking-plugins)"
    return "needs /dev/net/tun" if fwd and not Path("/dev/net/tun").exists() else None


def require(*, fwd: bool) -> None:
    """Skip where a lab cannot be built; fail instead where nobody looks at skips."""
    if reason := cannot_run(fwd=fwd):
        leave_out(reason)


class Lab:
    """`fwd lab` of one prefix."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.state_dir = Path(f"/run/fwd-lab.{prefix}")

    def argv(self, *words: str) -> list[str]:
        command, *rest = words
        return [sys.executable, "-c", PROGRAM, command, "--prefix", self.prefix, *rest]

    def run(
        self, *words: str, limit: float = 60, env: dict[str, str] | None = None
    ) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            self.argv(*words),
            cwd=ROOT,
            env=env,
            capture_output=True,
            text=True,
            timeout=limit,
            check=False,
        )

    def start(self, *words: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            self.argv(*words),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def namespaces(self) -> list[str]:
        return netns.existing(self.prefix)

    def processes(self) -> list[int]:
        paths = [netns.path(name) for name in self.namespaces()]
        return [process.pid for process in agentproc.inside(paths)]

    def state(self) -> str:
        """The text of ``lab.json``; empty while there is none."""
        try:
            return (self.state_dir / "lab.json").read_text()
        except FileNotFoundError:
            return ""

    def leftovers(self) -> list[str]:
        """All that a lab that is down must not have left, the agents of any namespace included."""
        left = [*self.namespaces(), *(str(path) for path in [self.state_dir] if path.exists())]
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    command = (entry / "cmdline").read_bytes()
                except OSError:
                    continue
                if f"--run-dir\0{self.state_dir}/".encode() in command:
                    left.append(f"process {entry.name}")
        return left


def own_lab(name: str) -> Iterator[Lab]:
    """A lab with a prefix that no other run of the tests has; removed in any case."""
    lab = Lab(own(name))
    try:
        yield lab
    finally:
        lab.run("down")
        left = lab.leftovers()
    assert left == []


def wait_for(
    what: Callable[[], object], *, limit: float = 20, told: Callable[[], object] = lambda: "in time"
) -> None:
    """Wait until it is true, or fail after `limit` seconds with what `told` has to say then."""
    deadline = time.monotonic() + limit
    while not what():
        assert time.monotonic() < deadline, told()
        time.sleep(0.02)


def told(lines: Iterable[str], event: str) -> int:
    """How often a log has an event."""
    return sum(f" event={event} " in f"{line} " for line in lines)
