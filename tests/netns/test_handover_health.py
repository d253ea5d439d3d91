# SPDX-License-Identifier: Apache-2.0
"""Who answers at the health port while one agent waits to take over from another.

Both Pods' probes reach the one that has it; which Pod has begun says a probe of its own
(tests/deploy/test_started.py).
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.agent_support import FACTS, Agent, wait_for
from tests.netns.kube_cluster import KubeCluster, running
from tests.netns.probe_support import HEALTH, probe

pytestmark = [pytest.mark.netns, pytest.mark.root]

READY = "flanneld is ready"


@pytest.fixture
def kube(tmp_path: Path) -> Iterator[KubeCluster]:
    with running(KubeCluster(tmp_path, families=(4,))) as made:
        yield made


def successor(kube: KubeCluster) -> Agent:
    """Of a cluster with IPv6, too, for which no Node has a podCIDR."""
    conf = json.loads(kube.net_conf.read_text())
    conf |= {"EnableIPv6": True, FACTS[6].network_key: FACTS[6].network}
    other = kube.directory / "dual.json"
    other.write_text(json.dumps(conf))
    agent = kube.start("n1", *HEALTH, "--net-config-path", str(other))
    agent.says("takes-over")
    agent.says("waiting")
    return agent


def test_who_forwards_stays_ready_while_another_one_waits(kube: KubeCluster) -> None:
    """Not ready, Kubernetes would end it: of two Pods that are not it keeps the newer."""
    first = kube.start("n1", *HEALTH)
    first.says("host-ready")
    wait_for("ready", lambda: probe(kube.n1, "readyz") == READY)
    waiting = successor(kube)
    for path, says in (("readyz", READY), ("healthz", "flanneld is running")):
        assert probe(kube.n1, path) == says
    assert waiting.stop()[0] == 0
    assert probe(kube.n1, "readyz") == READY


def test_who_waits_for_nobody_any_more_answers_itself(kube: KubeCluster) -> None:
    first = kube.start("n1", *HEALTH)
    first.says("host-ready")
    successor(kube)
    assert first.stop()[0] == 0
    wait_for("alive", lambda: probe(kube.n1, "healthz") == "flanneld is running")
    assert probe(kube.n1, "readyz").startswith("503 flanneld is not ready yet: ")


def test_one_that_takes_over_is_ready_itself(kube: KubeCluster) -> None:
    first = kube.start("n1", *HEALTH)
    first.says("host-ready")
    second = kube.start("n1", *HEALTH)
    second.says("taken-over")
    assert first.ended() == 0
    second.says("host-ready")
    wait_for("ready", lambda: probe(kube.n1, "readyz") == READY)
