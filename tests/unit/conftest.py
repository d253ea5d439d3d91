# SPDX-License-Identifier: Apache-2.0
"""Fixtures for tests with a real etcd, and with names that nobody resolves."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.etcd_server import EtcdServer
from tests.unit.etcd_member import guard
from tests.unit.names_support import Lookups, hanging, no_complaints


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[EtcdServer]:
    """One that asks nobody who he is."""
    with EtcdServer(tmp_path / "etcd") as server:
        server.start()
        yield server


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[EtcdServer]:
    """One with users; etcdctl is root."""
    with EtcdServer(tmp_path / "users") as server:
        guard(server)
        server.user = ("--user", "root:root")
        yield server


@pytest.fixture
def lookups(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lookups]:
    """Each hangs until it is told its answer."""
    with hanging(monkeypatch) as made:
        yield made


@pytest.fixture
async def complaints() -> AsyncIterator[None]:
    """There are to be none of asyncio's."""
    async with no_complaints():
        yield
