# SPDX-License-Identifier: Apache-2.0
"""Who may not take over, or breaks off, has taken nothing, and costs no packet."""

import time
from collections.abc import Iterator

import pytest

from fwd.core import handovertalk as talk
from tests.netns.agent_support import FACTS, wait_for
from tests.netns.dual_support import Dual, forwarding
from tests.netns.handover_support import Greeting, nothing_is_lost

pytestmark = [pytest.mark.netns, pytest.mark.root]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dual]:
    with forwarding(tmp_path_factory.mktemp("handover")) as made:
        yield made


def test_an_agent_of_another_node_gets_nothing(pair: Dual) -> None:
    cluster, agent = pair
    other = cluster.start("n1", "--node-name", "n2")
    assert other.ended() == 1
    assert "does not hand over (it is of node n1)" in other.log
    assert agent.lines("handed-over") == []


@pytest.mark.parametrize("how", ["it ends", "it says nonsense"])
def test_who_breaks_off_has_taken_nothing(pair: Dual, how: str) -> None:
    cluster, agent = pair
    before = len(agent.lines("hand-over-failed"))
    with nothing_is_lost(cluster, seconds=3):
        for _ in range(3):
            other = Greeting(agent)
            assert isinstance(other.answer, talk.Welcome)
            assert other.show() == talk.Shown(kits=len(cluster.families))
            for family in cluster.families:
                stop = talk.Stop(device=FACTS[family].device)
                assert isinstance(other.ask(stop), talk.Stopped)
            time.sleep(0.01)
            if how == "it ends":
                other.channel.close()
            else:
                other.channel.send(talk.Bye())
            wait_for("the agent goes on", lambda: cluster.reaches(cluster.n1, "n2"))
            other.channel.close()
    agent.says("hand-over-failed", times=before + 3)
