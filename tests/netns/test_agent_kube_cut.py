# SPDX-License-Identifier: Apache-2.0
"""Two nodes forward TCP while the API server's watch is cut within its events, byte by byte.

n3 changes, and both agents' watches end after so many bytes of that event, which is a recorded one
but for n3's name and subnet.  FWD_TEST_STEP=1 takes every offset (ten minutes), else a sample; the
parts that take a stream apart have every one in tests/unit/test_kube_watch.py.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fwd.lab.apiserver.faults import Cut, Fault, How, Unit
from tests.netns.agent_support import wait_for
from tests.netns.kube_cluster import RETURN_SECONDS, STALL_SECONDS, KubeCluster, running
from tests.unit.in_family import said
from tests.unit.kube_support import node_in, recorded_lines

pytestmark = [pytest.mark.netns, pytest.mark.root]

STEP = int(os.environ.get("FWD_TEST_STEP", "97"))
PEERS = ("127.0.0.1", "192.168.50.2")
"""n1 and n2, as the server sees them."""


@pytest.fixture
def kube(tmp_path: Path) -> Iterator[KubeCluster]:
    with running(KubeCluster(tmp_path, families=(4, 6))) as made:
        yield made


def address(turn: int) -> str:
    """Of n3, said in IPv4."""
    return f"192.168.{turn >> 8}.{turn & 255}"


def recorded(turn: int) -> dict[str, Any]:
    """n3 as a real server wrote a Node, at other addresses each turn."""
    found = json.loads(recorded_lines("watch-events")[0])["object"]
    ours = node_in((4, 6), 3, public_ip=address(turn))
    keys = ("name", "uid", "annotations")
    metadata = found["metadata"] | {key: ours["metadata"][key] for key in keys}
    return dict(found | {"metadata": metadata, "spec": ours["spec"]})


def test_a_watch_cut_within_an_event_stops_no_packet(kube: KubeCluster) -> None:
    agents = [kube.started(name) for name in ("n1", "n2")]

    def change(turn: int) -> None:
        kube.api.do(lambda server: server.nodes.put(recorded(turn)))

    def all_know(turn: int) -> None:
        for agent in agents:
            for family in kube.families:
                there = said(family, address(turn))
                wait_for(there, lambda a=agent, t=there: kube.third_is(a, t), RETURN_SECONDS)  # type: ignore[misc]

    change(1 << 15)
    all_know(1 << 15)
    length = max(len(line) for line in kube.server.replay() if b'"n3"' in line)
    assert length > 1500, "as long as a recorded one"
    flows = kube.flows()
    for offset in range(0, length, STEP):
        how = (How.FIN, How.RESET)[offset % 2]
        cut = Cut(offset, how, Unit.BODY)
        for peer in PEERS:
            kube.server.faults.add(Fault(cut, verb="watch", peer=peer))
        # What runs ends in order, so that the next watches, which are cut, begin at once.
        kube.api.do(lambda server: server.inject(end=True))
        change(offset)
        all_know(offset)
        assert not kube.server.faults_left, "it happened"
    for course in [flow.end() for flow in flows]:
        assert course.longest < STALL_SECONDS, f"TCP stood still for {course.longest:.1f} s"
        assert course.answers > length // STEP
