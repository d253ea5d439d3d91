# SPDX-License-Identifier: Apache-2.0
"""How the programs in bench/ end when they are told to, or when a build fails half-way."""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from bench import (
    adversity,
    busy,
    etcd_fifty,
    etcd_scale,
    kube_scale,
    losses,
    scaled,
    scrape,
    soak,
    survive,
)
from fwd.bench import traffic
from fwd.bench.traffic import Datagrams
from fwd.lab import signals
from fwd.lab.errors import Interrupted

LIMIT = 20.0  # seconds
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def _heeded(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As root's programs from a terminal, however these tests were begun."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    before = {number: signal.signal(number, signal.default_int_handler) for number in ENDING}
    yield
    for number, old in before.items():
        signal.signal(number, old)


@pytest.mark.parametrize("number", ENDING)
@pytest.mark.parametrize(
    ("program", "work"),
    [
        *[(one, "show") for one in (adversity, busy, etcd_fifty, scrape, soak, survive)],
        (etcd_scale, "measure"),
        (kube_scale, "measure"),
    ],
)
def test_what_was_begun_is_undone(
    program: ModuleType, work: str, number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    undone = []

    def doing(*_: object) -> None:
        try:
            signal.raise_signal(number)
        finally:
            undone.append(work)

    async def measuring(*_: object) -> None:
        doing()

    monkeypatch.setattr(program, work, measuring if work == "measure" else doing)
    monkeypatch.setattr(sys, "argv", ["bench", *["--inside"] * (work == "measure")])
    assert program.main() == 128 + number
    assert undone == [work]


def test_what_runs_in_a_namespace_is_told_and_waited_for(tmp_path: Path) -> None:
    ready, ended = tmp_path / "ready", tmp_path / "ended"
    inner = f"""
import signal, sys, time
from pathlib import Path
def end(*_):
    time.sleep(0.5)
    Path({str(ended)!r}).touch()
    sys.exit(3)
signal.signal(signal.SIGTERM, end)
Path({str(ready)!r}).touch()
time.sleep({LIMIT})
"""

    def interrupt() -> None:
        while not ready.exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(Interrupted), signals.as_exceptions():
        scaled.ended([sys.executable, "-c", inner])
    thread.join()
    assert ended.exists()


def test_the_exit_code_of_what_runs_in_a_namespace_is_the_programs() -> None:
    assert scaled.ended([sys.executable, "-c", "raise SystemExit(4)"]) == 4


class HalfBuilt:
    """A cluster whose first namespace cannot be made."""

    removed = 0

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def set_token(self, _: str) -> None:
        pass

    def build(self) -> None:
        raise RuntimeError("no room for a namespace")

    def remove(self) -> None:
        HalfBuilt.removed += 1


@pytest.mark.parametrize(("program", "name"), [(survive, "Cluster"), (soak, "KubeCluster")])
def test_a_build_that_fails_says_why_and_is_removed(
    program: ModuleType, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, name, HalfBuilt)
    monkeypatch.setattr(HalfBuilt, "removed", 0)
    with pytest.raises(RuntimeError, match="no room"), program.nodes():
        pass
    assert HalfBuilt.removed == 1


class Beside:
    """In the place of the stream, of the probe, and of what befalls an agent."""

    name = "a blow"
    blows = 0

    def __init__(self, *_: object) -> None:
        self._outages = iter([0.030, 0.010])

    def do(self) -> None:
        Beside.blows += 1

    def outage(self, *_: object) -> float:
        return next(self._outages)

    def end(self) -> int:
        return 0

    def close(self) -> None:
        pass


class Broken(Beside):
    def do(self) -> None:
        raise KeyboardInterrupt


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What became of the datagrams of a survive without nodes."""
    told: list[str] = []
    node = SimpleNamespace(name="n", pings=lambda _: True)

    @contextlib.contextmanager
    def nodes() -> Iterator[Any]:
        yield SimpleNamespace(n1=node, n2=node, started=lambda _: None)

    def datagrams(*_: object, seconds: float, **__: object) -> Datagrams:
        time.sleep(seconds)
        return Datagrams(2, 1, 0, 0, 1.0, 1.0)

    @contextlib.contextmanager
    def flowing(*_: object, **__: object) -> Iterator[Any]:
        done = Datagrams(2, 1, 0, 0, 1.0, 1.0)
        try:
            yield SimpleNamespace(wait=lambda: told.append("waited"), so_far=lambda: done)
        finally:
            told.append("ended")

    monkeypatch.setattr(survive, "nodes", nodes)
    monkeypatch.setattr(survive, "Stream", Beside)
    monkeypatch.setattr(survive, "Probe", Beside)
    monkeypatch.setattr(traffic, "datagrams", datagrams)
    monkeypatch.setattr(traffic, "flowing", flowing)
    monkeypatch.setattr(losses, "counted", lambda _: {})
    monkeypatch.setattr(losses, "of_agent", lambda *_: {})
    return told


def test_an_interrupted_survive_does_not_wait_for_its_load(load: list[str]) -> None:
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        survive.measure(Broken, times=20, rate=1, every=0.2)
    assert time.monotonic() - began < 2
    assert load == ["ended"]


def test_an_outage_is_told_by_the_median(load: list[str]) -> None:
    row = survive.measure(Beside, times=2, rate=1, every=0.05)
    assert row[-3:] == ("20", "30", "30")
    assert load == ["waited", "ended"]


def test_delays_are_told_by_the_median() -> None:
    assert scaled.told([0.04, 0.01, 0.02, 0.09]) == "median 30 ms, worst 90 ms"
