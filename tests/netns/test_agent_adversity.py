# SPDX-License-Identifier: Apache-2.0
"""TCP from Pod to Pod lives through what befalls a node, over both families, without a restart.

Excluded: outages of minutes (`python -m bench.adversity`, which prints this as a table), etcd
(test_agent_etcd), what else an API server can do (test_agent_kube_adversity).
"""

from collections.abc import Iterator

import pytest

from tests.netns.adversities import QUICK, Adversity, outlive
from tests.netns.battered import Battered
from tests.netns.kube_cluster import STALL_SECONDS, running

pytestmark = [pytest.mark.netns, pytest.mark.root]


@pytest.fixture(scope="module")
def kube(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Battered]:
    with running(Battered(tmp_path_factory.mktemp("adversity"), families=(4, 6))) as made:
        yield made


@pytest.mark.parametrize("adversity", QUICK, ids=lambda one: one.name)
def test_tcp_lives_through(kube: Battered, adversity: Adversity) -> None:
    before = {name: agent.pid for name, agent in kube.agents.items()}
    outcome = outlive(kube, adversity)
    assert outcome.answers > 10
    if not adversity.stops_packets:
        assert max(outcome.longest.values()) < STALL_SECONDS, "TCP stood still"
    assert {name: agent.pid for name, agent in kube.agents.items()} == before
    assert sum(outcome.said.values()) < 60, f"too much was said: {outcome.said}"
