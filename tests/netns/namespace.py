# SPDX-License-Identifier: Apache-2.0
"""A network namespace for a test, and waiting that ends."""

import ctypes
import json
import os
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

WAIT_SECONDS = 30.0
ROOT = Path(__file__).resolve().parents[2]
_CLONE_NEWNET = 0x40000000

T = TypeVar("T")


def wait_for(what: str, done: Callable[[], bool], seconds: float = WAIT_SECONDS) -> None:
    """Polls until done() or fails."""
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            pytest.fail(f"{what}: not within {seconds:g} s")
        time.sleep(0.02)


class Namespace:
    """One network namespace; `ip` speaks to it, `run` runs in it."""

    def __init__(self, name: str) -> None:
        self.name = name
        _call("ip", "netns", "add", name)
        self.ip("link", "set", "lo", "up")

    def ip(self, *words: str) -> str:
        return _call("ip", "-n", self.name, *words)

    def show(self, *words: str) -> list[Any]:
        """What `ip -j -d` shows; empty for a device that is not there."""
        done = subprocess.run(
            ["ip", "-n", self.name, "-j", "-d", *words],
            capture_output=True,
            text=True,
            timeout=WAIT_SECONDS,
            check=False,
        )
        found: list[Any] = json.loads(done.stdout) if done.returncode == 0 and done.stdout else []
        return [one for one in found if one]

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["ip", "netns", "exec", self.name, *words],
            capture_output=True,
            text=True,
            timeout=WAIT_SECONDS * 2,
            check=False,
            cwd=ROOT,
        )

    def within(self, work: Callable[[], T]) -> T:
        """In a thread that has moved there."""
        results: list[T] = []
        errors: list[Exception] = []

        def moved() -> None:
            handle = os.open(f"/run/netns/{self.name}", os.O_RDONLY)
            assert ctypes.CDLL(None, use_errno=True).setns(handle, _CLONE_NEWNET) == 0
            os.close(handle)
            try:
                results.append(work())
            except Exception as error:  # noqa: BLE001 - whatever it is, it is the caller's
                errors.append(error)

        thread = threading.Thread(target=moved)
        thread.start()
        thread.join(WAIT_SECONDS)
        if errors:
            raise errors[0]
        (result,) = results
        return result

    def pings(self, address: str) -> bool:
        """Whether one echo is answered, within a second."""
        return self.run("ping", "-n", "-c", "1", "-W", "1", address).returncode == 0

    def remove(self) -> None:
        _call("ip", "netns", "del", self.name)


def _call(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=WAIT_SECONDS, check=False)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"
    return done.stdout
