# SPDX-License-Identifier: Apache-2.0
"""What is beside what on the busy node of `bench.busy`, and what control groups are left."""

import contextlib
import errno
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from bench import busy, cpugroups
from bench.busy import Figures
from fwd.bench.contenders import BASELINE

LIMIT = 20.0  # seconds
FIGURES = Figures(1.0, 1.0, 1.0)


class Group:
    """A control group that only knows what it was told."""

    millis = 0

    def request(self, millis: int) -> None:
        self.millis = millis

    def take(self, _: int) -> None:
        pass


class Stage:
    """Two labs of nothing; `seen` are what was measured and what agents requested then."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.order: list[str] = []
        self.seen: list[tuple[str, int, int]] = []
        self.agents: list[Group] = []
        self.loops = 0
        monkeypatch.setattr(busy, "groups", self._groups)
        monkeypatch.setattr(busy, "built", self._built)
        monkeypatch.setattr(busy, "loops", self._loops)
        monkeypatch.setattr(busy, "measured", self._measured)

    @contextlib.contextmanager
    def _groups(self, *names: str, **_: object) -> Iterator[list[Group]]:
        self.order.append("groups")
        made = [Group() for _ in names]
        self.agents = made[:2]
        yield made

    @contextlib.contextmanager
    def _built(self, contender: Any, shape: Any, **_: object) -> Iterator[Any]:  # noqa: ANN401
        self.order.append(f"{shape.prefix} {contender.name}")
        nodes = [SimpleNamespace(namespace="none"), SimpleNamespace(namespace="none")]
        yield SimpleNamespace(contender=contender, topology=SimpleNamespace(nodes=nodes))

    @contextlib.contextmanager
    def _loops(self, *_: object) -> Iterator[list[Any]]:
        self.loops = 1
        yield [SimpleNamespace(poll=lambda: None)]
        self.loops = 0

    def _measured(self, running: Any, _: int) -> Figures:  # noqa: ANN401
        (millis,) = {agent.millis for agent in self.agents}
        self.seen.append((running.contender.name, millis, self.loops))
        return FIGURES


def test_each_row_is_measured_beside_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch)
    found = busy.rounds(2, 1, Console(quiet=True))
    once = [
        *[("fwd", 100, 0), (BASELINE, 100, 0)],
        *[("fwd", millis, 1) for millis in busy.REQUESTS],
        (BASELINE, 100, 1),
    ]
    assert stage.seen == once * 2
    assert list(found.values()) == [[FIGURES] * 2] * len(once)
    # Every run has the same names; the labs' locks come first, so that two do not meet.
    assert stage.order == ["fwdbusy fwd", f"fwdbusy {BASELINE}", "groups"]


def test_an_agent_is_sure_of_less_than_it_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    rows = [busy._CALM, busy._KERNELS_CALM, *busy._BUSY, busy._KERNELS_BUSY]
    assert [row.cells[1:] for row in rows] == [
        *[("100m", "0.17"), ("", "")],
        *[("100m", "0.06"), ("250m", "0.14"), ("500m", "0.25"), ("1000m", "0.40")],
        *[("2000m", "0.57"), ("", "")],
    ]


@pytest.mark.parametrize("seconds", [1, 2, 600])
def test_loops_last_as_long_as_what_is_measured_beside_them(seconds: int) -> None:
    assert busy.loops_limit(seconds) > (len(busy.REQUESTS) + 1) * 2 * seconds


def test_a_figure_beside_a_loop_that_has_ended_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    group = Group()
    with busy.loops(group, limit=1) as running:  # type: ignore[arg-type]
        assert group.millis == 1000
        busy.require_running(running, "fwd 100m")
        running[0].wait(LIMIT)
        with pytest.raises(SystemExit, match="fwd 100m: 1 of 1 loops ended"):
            busy.require_running(running, "fwd 100m")


@pytest.fixture
def sleeper() -> Iterator["subprocess.Popen[bytes]"]:
    words = [sys.executable, "-c", f"import time; time.sleep({LIMIT})"]
    with subprocess.Popen(words) as process:
        yield process
        process.kill()


def test_groups_of_an_earlier_run_go_with_what_runs_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sleeper: "subprocess.Popen[bytes]"
) -> None:
    def rmdir(path: Path) -> None:
        """As of a control group: with its files, but not with a process or a group in it."""
        inside = [one for one in path.iterdir() if one.is_dir()]
        if inside or (path.name == "busy" and sleeper.poll() is None):
            raise OSError(errno.EBUSY, "busy")
        for file in path.iterdir():
            file.unlink()
        os.rmdir(path)  # noqa: PTH106 - Path's is this one

    monkeypatch.setattr(Path, "rmdir", rmdir)
    monkeypatch.setattr(cpugroups, "_V1", tmp_path)
    (tmp_path / "cpu.shares").touch()
    top = tmp_path / "fwd-busy"
    for group, pid in ((top, ""), (top / "busy", str(sleeper.pid)), (top / "other", "")):
        group.mkdir()
        (group / "cgroup.procs").write_text(pid)
    began = time.monotonic()
    with cpugroups.groups("busy", millis=500) as (made,):
        assert sleeper.poll() is not None
        assert sorted(path.name for path in top.iterdir()) == ["busy"]
        assert (top / "busy" / "cpu.weight").read_text() == "20"
        made.take(1)
        (top / "cgroup.procs").touch()
    assert (tmp_path / "cgroup.procs").read_text() == "1"  # who was there has left it
    assert not top.exists()
    assert time.monotonic() - began < LIMIT
