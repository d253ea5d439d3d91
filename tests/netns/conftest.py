# SPDX-License-Identifier: Apache-2.0
"""Fixtures for tests with real devices.  Whether these can run at all is tests/conftest.py's."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns import topo
from tests.netns.agent_support import Agent, Cluster, require_bridge_filter
from tests.netns.doctor_support import Doctor
from tests.netns.host_support import Host
from tests.netns.observed_support import Watched
from tests.netns.topo import Net


@pytest.fixture
def family() -> int:
    """IPv4, where a test does not say EACH_FAMILY."""
    return 4


@pytest.fixture
def families(family: int) -> tuple[int, ...]:
    """That one, where a test does not say BOTH_FAMILIES."""
    return (family,)


@pytest.fixture
def cluster(tmp_path: Path, families: tuple[int, ...]) -> Iterator[Cluster]:
    """Two namespaces, removed with all agents also after a failure."""
    made = Cluster(tmp_path, families=families)
    try:
        made.build()
        yield made
    finally:
        made.remove()


@pytest.fixture(params=topo.FAMILIES.values(), ids=tuple(topo.FAMILIES))
def net(request: pytest.FixtureRequest, both: Net) -> Net:
    """The module's dual-stack lab, as one of its families sees it."""
    return both.seen(request.param)


@pytest.fixture
def doctor(net: Net) -> Doctor:
    """On a node of that lab of which one family is made ill."""
    return Doctor(net)


@pytest.fixture
def general(both: Net) -> Doctor:
    """The same, for what is wrong with all of it."""
    return Doctor(both)


@pytest.fixture
def dev_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    """Agents with asyncio's debug mode and checks of the heap, for half as much CPU time again."""
    monkeypatch.setattr(Cluster, "python", ("-X", "dev", *Cluster.python))


@pytest.fixture
def pair(cluster: Cluster) -> tuple[Cluster, Agent, Agent]:
    """Two nodes that are ready."""
    agents = cluster.start("n1"), cluster.start("n2")
    for agent in agents:
        agent.says("host-ready")
    return cluster, *agents


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    """n1 with both families on and rules of iptables, and no agent yet."""
    require_bridge_filter()
    cluster = Cluster(tmp_path, families=(4, 6))
    try:
        cluster.build()
        cluster.configure(nft=False)
        yield Host(cluster)
    finally:
        cluster.remove()


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    cluster = Cluster(tmp_path_factory.mktemp("watched"), families=(4, 6))
    try:
        cluster.build()
        yield Watched(cluster)
    finally:
        cluster.remove()
