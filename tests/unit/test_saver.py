# SPDX-License-Identifier: Apache-2.0
"""When leases are saved, and a disk that takes nothing."""

import asyncio
import errno
import logging
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path

import pytest

from fwd.model import OwnLease
from fwd.node import saver
from fwd.node.savedstate import SavedState
from fwd.node.saver import Saver

OWN = (OwnLease("n1", ip_network("10.244.1.0/24")),)


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
