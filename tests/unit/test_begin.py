# SPDX-License-Identifier: Apache-2.0
"""What a start makes of what the supervisor has kept."""

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fwd import begin as beginning
from fwd.node.handover.store import Entry, Store
from fwd.node.rundir import RunDir
from fwd.ops import log
from fwd.supervisor.words import LOCK

LIMIT = 30.0


class Memory(Store):
    """A supervisor that has kept something, and what is said to it."""

    def __init__(self) -> None:
        super().__init__()
        self.dropped: list[str] = []

    def load(self) -> dict[str, Entry]:
        return {LOCK: Entry(b"path", [])}

    def drop(self, name: str) -> None:
        self.dropped.append(name)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Memory:
    made = Memory()
    monkeypatch.setattr(Store, "of_environment", lambda _: made)
    monkeypatch.setattr(log, "set_up", lambda _: None)
    return made


def begun(run_dir: Path) -> bool:
    """Whether the directory is ours."""
    config: Any = SimpleNamespace(log_format="text", confine="off", run_dir=run_dir)
    made = beginning.begin(config)
    made.run_dir.close()
    return made.run_dir.is_ours


def test_a_lock_that_is_free_soon_is_waited_for(tmp_path: Path, store: Memory) -> None:
    before = RunDir.open(tmp_path)
    dying = threading.Timer(0.1, before.close)
    dying.start()
    assert begun(tmp_path)
    dying.join(LIMIT)
    assert store.dropped == []


def test_what_is_kept_is_dropped_if_another_agent_has_begun(
    tmp_path: Path, store: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beginning, "LOCK_SECONDS", 0.05)
    other = RunDir.open(tmp_path)
    assert not begun(tmp_path)
    assert store.dropped == [LOCK]
    other.close()
