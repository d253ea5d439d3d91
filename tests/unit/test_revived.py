# SPDX-License-Identifier: Apache-2.0
"""Planes that forward by what a crash has left, while the agent around them begins."""

import os
from types import SimpleNamespace
from typing import Any

import pytest

from fwd.agent import Agent
from fwd.model import ConfigError
from fwd.node.handover.keeping import Revived, StoreKeeping, revive
from fwd.node.handover.legacy import Legacy, NoLegacy, Succession
from fwd.node.handover.store import Entry, Store
from fwd.supervisor.words import LOCK, TABLE


class Aborted(NoLegacy):
    """Counts."""

    def __init__(self) -> None:
        self.times = 0

    def abort(self) -> None:
        self.times += 1


async def begin_in_vain(legacy: Legacy) -> None:
    async def begin(*_: object) -> None:
        raise ConfigError("eth9 is not there")

    agent: Any = Agent.__new__(Agent)
    agent._saver = SimpleNamespace(load=lambda: SimpleNamespace(own=(), leases=()))
    agent._forwarding = SimpleNamespace(begin=begin)
    agent._succession = Succession(legacy=legacy, keeping=StoreKeeping(Store()))
    assert not await agent._begin_from_saved()


async def test_a_saved_state_of_no_use_ends_no_revived_plane(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """They go on until there are leases, as without such a state."""
    plane: Any = SimpleNamespace(close=lambda: pytest.fail("it forwards"))
    legacy = Revived({"flannel.1": plane}, StoreKeeping(Store()))
    await begin_in_vain(legacy)
    assert legacy.devices == ("flannel.1",)
    assert "saved-state-unused" in caplog.text


async def test_a_saved_state_of_no_use_leaves_another_agent_as_it_was() -> None:
    legacy = Aborted()
    await begin_in_vain(legacy)
    assert legacy.times == 1


@pytest.mark.parametrize("table", [None, 0, 2], ids=["no table", "an empty one", "two"])
def test_what_is_of_no_use_is_kept_by_nobody(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, table: int | None
) -> None:
    """A process may end between any two words to its supervisor."""
    store, dropped = Store(), list[str]()
    monkeypatch.setattr(store, "drop", dropped.append)
    reader, writer = os.pipe()
    entries = {LOCK: Entry(b"path", []), "flannel.1": Entry(b"a kit", [writer])}
    if table is not None:
        entries["flannel.1" + TABLE] = Entry(b"", [os.dup(writer) for _ in range(table)])
    assert revive(entries, StoreKeeping(store)).devices == ()
    assert dropped == ["flannel.1", "flannel.1" + TABLE]
    assert "event=not-revived device=flannel.1" in caplog.text
    assert os.read(reader, 1) == b"", "nor are there copies here"
    os.close(reader)
