# SPDX-License-Identifier: Apache-2.0
"""The supervisor's program with an agent of a test's own, and a Supervisor within a test."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from fwd.supervisor.child import SIGNALS

LIMIT = 30.0
ROOT = Path(__file__).resolve().parents[2]
_AGENT = """
import os, signal, socket, sys, time

signal.alarm(60)  # the end of one that a failed test leaves
talk = socket.socket(fileno=int(os.environ["FWD_STORE"]))

def say(*words):
    print(*words, flush=True)

def put(name, data="", descriptors=()):
    tell(f"put {name}\\n{data}", descriptors)

def tell(text, descriptors=()):
    socket.send_fds(talk, [text.encode()], descriptors)
    assert talk.recv(16) == b"ok"
"""


@contextmanager
def own_signals() -> Iterator[None]:
    """For a Supervisor in this process: what signals did before, they do after."""
    before = [signal.getsignal(one) for one in SIGNALS]
    try:
        yield
    finally:
        signal.set_wakeup_fd(-1)
        for number, handler in zip(SIGNALS, before, strict=True):
            signal.signal(number, handler)


class Program:
    """A supervisor whose agent is what a test says: Python, with `say` and `put`."""

    def __init__(self, place: Path, agent: str, form: str = "text") -> None:
        package = place / "fwd"
        shutil.copytree(ROOT / "fwd" / "supervisor", package / "supervisor")
        (package / "__init__.py").write_text("")
        (package / "__main__.py").write_text(_AGENT + agent)
        self._out, self._err = place / "out", place / "err"
        self._command = [sys.executable, "-P", "-S", str(package / "supervisor" / "__main__.py")]
        self._command += ["no-spare", form, "--flag"]
        self.directory = place
        """The current one."""
        self.process: subprocess.Popen[bytes]

    @contextmanager
    def running(self, *before: str) -> Iterator["Program"]:
        """With the words of a program that becomes it."""
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [*before, *self._command], stdout=out, stderr=err, cwd=self.directory
            )
        try:
            yield self
        finally:
            for child in self._children():
                with suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
            self.process.kill()
            self.process.wait(LIMIT)

    def _children(self) -> list[int]:
        pid = self.process.pid
        with suppress(OSError):
            words = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            return [int(one) for one in words]
        return []

    @property
    def said(self) -> list[str]:
        """By the agents."""
        return self._out.read_text().splitlines()

    @property
    def log(self) -> list[str]:
        return self._err.read_text().splitlines()

    def tell(self, number: int) -> None:
        self.process.send_signal(number)

    def waits_for(self, done: Callable[[], bool]) -> None:
        end = time.monotonic() + LIMIT
        while not done():
            if time.monotonic() > end:
                pytest.fail(f"said {self.said}, logged {self.log}")
            time.sleep(0.01)

    def hears(self, *words: str) -> None:
        """Waits until the agents have said that and nothing else."""
        self.waits_for(lambda: self.said == list(words))

    def ended(self) -> int:
        return self.process.wait(LIMIT)
