# SPDX-License-Identifier: Apache-2.0
"""When leases are saved, a disk that takes nothing, and whose the last word is."""

import asyncio
import errno
import logging
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fwd.agent import Agent, GivenAwayError
from fwd.model import OwnLease
from fwd.node import saver
from fwd.node.savedstate import SavedState
from fwd.node.saver import Saver

OWN = (OwnLease("n1", ip_network("10.244.1.0/24")),)
NEWER = (OwnLease("n1", ip_network("10.244.9.0/24")),)


class Disk(SavedState):
    """Full as long as it says so."""

    def __init__(self, directory: Path) -> None:
        networks = {4: ip_network("10.244.0.0/16")}
        super().__init__(directory, node="n1", networks=networks, vni=1)
        self.full = True
        self.tried = 0

    def save(self, own: object, leases: object) -> None:
        self.tried += 1
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        super().save(own, leases)  # type: ignore[arg-type]


async def until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not done():  # noqa: ASYNC110 - bounded
            await asyncio.sleep(0.01)


async def test_a_full_disk_is_said_once_and_asked_again_until_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(saver, "SAVE_SECONDS", 0.01)
    monkeypatch.setattr(saver, "RETRY_SECONDS", 0.01)
    caplog.set_level(logging.INFO, "fwd")
    disk = Disk(tmp_path)
    made = Saver(disk, look=lambda: (OWN, ()))
    task = asyncio.create_task(made.keep())
    made.changed()
    await until(lambda: disk.tried >= 4)
    assert made.trouble == "cannot save the leases in force: No space left on device"
    disk.full = False
    await until(lambda: made.trouble is None)
    assert [record.message.split()[0] for record in caplog.records] == [
        "event=saved-state",
        "event=saved-state-good-again",
    ]
    assert f"failures={disk.tried - 1}" in caplog.records[-1].message
    tried = disk.tried
    await asyncio.sleep(0.1)
    assert disk.tried == tried, "nothing is left to be saved"
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert made.load() is not None


async def test_who_has_given_all_away_leaves_the_file_to_the_next_agent(tmp_path: Path) -> None:
    """It goes on for a moment, and saves what is not saved at its end."""
    left: list[str] = []

    async def serve() -> None:
        after.save(NEWER, ())

    before, after = Disk(tmp_path), Disk(tmp_path)
    before.full = after.full = False
    agent: Any = Agent.__new__(Agent)
    agent._saver = made = Saver(before, look=lambda: (OWN, ()))
    agent._run_dir = SimpleNamespace(is_given=False)
    giver: Any = SimpleNamespace(serve=serve, leave_name=lambda: left.append("giver"))
    server: Any = SimpleNamespace(leave_name=lambda: left.append("server"))
    task = asyncio.create_task(made.keep())
    await asyncio.sleep(0)  # it waits for changes
    with pytest.raises(GivenAwayError):
        await agent._give_away(giver, server)
    assert agent._run_dir.is_given
    assert left == ["giver", "server"]
    await made.save_now()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    found = after.load()
    assert found is not None
    assert found.own == NEWER
    assert before.tried == 0
