# SPDX-License-Identifier: Apache-2.0
"""Two nodes forward TCP while the API server misbehaves.

After each adversity the third node's change is in both tables within 5 s, and TCP never stopped.
Excluded: faults byte by byte (test_agent_kube_cut, tests/unit/test_kube_faults.py), a server with
an older state (test_agent_adversity), outages of minutes (`python -m bench.adversity`).
"""

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fwd.lab.apiserver.access import FLANNEL, FLANNEL_ROLE
from fwd.lab.apiserver.faults import Answer, Cut, Expire, How
from tests.netns.agent_support import wait_for
from tests.netns.kube_cluster import (
    RETURN_SECONDS,
    STALL_SECONDS,
    KubeCluster,
    Nodes,
    meet,
    running,
)

pytestmark = [pytest.mark.netns, pytest.mark.root]

AWAY_SECONDS = 9.0
"""Retries are as seldom as they get after eight."""


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    """New ones each time: who has just seen the server flap rightly knocks more seldom."""
    with running(KubeCluster(tmp_path, families=(4, 6))) as made:
        yield meet(made)


def away(kube: KubeCluster) -> None:
    """Meanwhile n3 changes more than once."""
    kube.api.wait(kube.server.stop())
    for turn in range(6):
        kube.put_third(turn)
        time.sleep(AWAY_SECONDS / 6)
    kube.put_third(9)
    kube.api.wait(kube.server.start())


def restarted(kube: KubeCluster) -> None:
    kube.api.wait(kube.server.stop())
    kube.put_third(9)
    kube.api.do(lambda server: server.nodes.compact())
    kube.api.wait(kube.server.start())


def with_fault(effect: object, verb: str) -> Callable[[KubeCluster], None]:
    def adversity(kube: KubeCluster) -> None:
        for _ in range(2):
            kube.api.do(lambda server: server.fault(effect, verb=verb))
        restarted(kube)

    return adversity


def rotated(kube: KubeCluster) -> None:
    kube.set_token("second")
    kube.api.do(lambda server: server.access.rotate("second", user=FLANNEL))
    restarted(kube)


def undone(kube: KubeCluster) -> None:
    keys = ["public_ip", "backend_data", "backend_type", "kube_subnet_manager"]
    keys += ["public_ipv6", "backend_v6_data"]
    for name in ("n1", "n2"):
        kube.api.do(lambda server, n=name: server.change(n, **dict.fromkeys(keys)))  # type: ignore[misc]
    kube.put_third(9)


def shuffled(kube: KubeCluster) -> None:
    for turn in range(20):
        kube.put_third(turn)
    kube.put_third(9)
    twice = kube.server.replay() * 2
    random.Random(3).shuffle(twice)
    kube.api.wait(kube.server.play(*twice))


@pytest.mark.parametrize(
    "adversity",
    [
        pytest.param(away, id="away"),
        pytest.param(restarted, id="restarted"),
        pytest.param(with_fault(Expire(), "watch"), id="410"),
        pytest.param(with_fault(Answer(429, retry_after=1), "list"), id="429"),
        pytest.param(with_fault(Answer(503), "list"), id="503"),
        pytest.param(with_fault(Cut(700, How.RESET), "list"), id="cut"),
        pytest.param(rotated, id="token rotated"),
        pytest.param(undone, id="annotations deleted by hand"),
        pytest.param(shuffled, id="events twice and shuffled"),
    ],
)
def test_adversity(nodes: Nodes, adversity: Callable[[KubeCluster], None]) -> None:
    kube, *agents = nodes
    flows, begun = kube.flows(), time.monotonic()
    adversity(kube)
    for agent in agents:
        wait_for(
            "the truth",
            lambda a=agent: kube.knows_all(a, 9),  # type: ignore[misc]
            RETURN_SECONDS,
        )
    wait_for("it has happened", lambda: not kube.server.faults_left)
    time.sleep(max(0.0, begun + 1.0 - time.monotonic()))  # there was something to disturb
    for course in [flow.end() for flow in flows]:
        assert course.longest < STALL_SECONDS, f"TCP stood still for {course.longest:.1f} s"
        assert course.answers > 10
    for name in ("n1", "n2"):
        wait_for("annotations", lambda n=name: len(kube.published(n)) == 6)  # type: ignore[misc]
    assert kube.server.verbs() <= FLANNEL_ROLE
