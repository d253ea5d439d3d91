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
from tests.unit.kube_support import node_object, recorded_lines

pytestmark = [pytest.mark.netns, pytest.mark.root]

STEP = int(os.environ.get("FWD_TEST_STEP", "97"))
PEERS = ("127.0.0.1", "192.168.50.2")
"""n1 and n2, as the server sees them."""


@pytest.fixture
def kube(tmp_path: Path) -> Iterator[KubeCluster]:
    with running(KubeCluster(tmp_path)) as made:
        yield made


def recorded(public_ip: str) -> dict[str, Any]:
    """n3 as a real server wrote a Node."""
    found = json.loads(recorded_lines("watch-events")[0])["object"]
    ours = node_object(3, public_ip=public_ip)
    keys = ("name", "uid", "annotations")
    metadata = found["metadata"] | {key: ours["metadata"][key] for key in keys}
    return dict(found | {"metadata": metadata, "spec": ours["spec"]})


def test_a_watch_cut_within_an_event_stops_no_packet(kube: KubeCluster) -> None:
    agents = [kube.started(name) for name in ("n1", "n2")]

    def change(address: str) -> None:
        kube.api.do(lambda server: server.nodes.put(recorded(address)))

    def all_know(address: str) -> None:
        for agent in agents:
            wait_for(address, lambda a=agent: kube.third_is(a, address), RETURN_SECONDS)  # type: ignore[misc]

    change("192.168.9.9")
    all_know("192.168.9.9")
    length = len(kube.server.replay()[-1])
    assert length > 1500, "as long as a recorded one"
    flow = kube.flow()
    for offset in range(0, length, STEP):
        how = (How.FIN, How.RESET)[offset % 2]
        cut = Cut(offset, how, Unit.BODY)
        for peer in PEERS:
            kube.server.faults.add(Fault(cut, verb="watch", peer=peer))
        # What runs ends in order, so that the next watches, which are cut, begin at once.
        kube.api.do(lambda server: server.inject(end=True))
        address = f"192.168.{offset >> 8}.{offset & 255}"
        change(address)
        all_know(address)
        assert not kube.server.faults_left, "it happened"
    course = flow.end()
    assert course.longest < STALL_SECONDS, f"TCP stood still for {course.longest:.1f} s"
    assert course.answers > length // STEP
