# SPDX-License-Identifier: Apache-2.0
"""Fixtures for tests with a real etcd."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.etcd_server import EtcdServer
from tests.unit.etcd_member import guard


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
