# SPDX-License-Identifier: Apache-2.0
"""Fixtures for tests with real devices.  Whether these can run at all is tests/conftest.py's."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.agent_support import Agent, Cluster


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Two namespaces, removed with all agents also after a failure."""
    made = Cluster(tmp_path)
    try:
        made.build()
        yield made
    finally:
        made.remove()


@pytest.fixture
def pair(cluster: Cluster) -> tuple[Cluster, Agent, Agent]:
    """Two nodes that are ready."""
    agents = cluster.start("n1"), cluster.start("n2")
    for agent in agents:
        agent.says("host-ready")
    return cluster, *agents
