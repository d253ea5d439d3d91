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
    server = EtcdServer(tmp_path / "etcd")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[EtcdServer]:
    """One with users; etcdctl is root."""
    server = EtcdServer(tmp_path / "users")
    guard(server)
    server.user = ("--user", "root:root")
    yield server
    server.stop()
