# SPDX-License-Identifier: Apache-2.0
"""`fwd run --kube-subnet-mgr`: two nodes forward TCP while the API server misbehaves.

After each adversity the third node's change is in both tables within 5 s, and TCP never stopped.
Excluded: faults byte by byte (tests/unit/test_kube_faults.py), the own Node's texts
(test_kube_node.py).
"""

import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fwd.lab.apiserver.access import FLANNEL, FLANNEL_ROLE
from fwd.lab.apiserver.faults import Answer, Cut, Expire, How
from tests.netns.agent_support import Agent, wait_for
from tests.netns.kube_cluster import KubeCluster, running

pytestmark = [pytest.mark.netns, pytest.mark.root]

RETURN_SECONDS = 5.0
STALL_SECONDS = 0.5
"""A TCP answer later than this has been stopped; retransmission begins at 0.2 s."""
AWAY_SECONDS = 60.0
P = "flannel.alpha.coreos.com/"


@pytest.fixture
def kube(tmp_path: Path) -> Iterator[KubeCluster]:
    with running(KubeCluster(tmp_path)) as made:
        yield made


@pytest.fixture
def nodes(kube: KubeCluster) -> tuple[KubeCluster, Agent, Agent]:
    """Both forward to each other."""
    agents = kube.started("n1"), kube.started("n2")
    for agent in agents:
        wait_for("both leases", lambda a=agent: len(a.status()["leases"]) == 2)  # type: ignore[misc]
    return kube, *agents


def test_two_nodes_meet_through_the_api(nodes: tuple[KubeCluster, Agent, Agent]) -> None:
    kube, first, second = nodes
    assert kube.n1.pings("10.244.2.0")
    assert kube.published("n1") == {
        P + "backend-data": '{"VNI":1,"VtepMAC":"' + first.tunnel()["vtep-mac"] + '"}',
        P + "backend-type": "vxlan",
        P + "kube-subnet-manager": "true",
        P + "public-ip": "192.168.50.1",
    }
    status = second.status()
    assert status["source"]["standing"] == "watching"
    assert status["source"]["leases-of"] == "source"
    assert status["refused"] == []
    assert len(second.lines("vtep-mac")) == 1, "what it has published is no news to it"
    assert "FLANNEL_SUBNET=10.244.2.1/24" in (second.run_dir / "subnet.env").read_text()
    assert kube.server.verbs() <= FLANNEL_ROLE


def test_a_node_joins_and_leaves(nodes: tuple[KubeCluster, Agent, Agent]) -> None:
    kube, first, _ = nodes
    kube.put(4)
    wait_for("n4", lambda: len(first.status()["leases"]) == 3, 1)
    kube.api.do(lambda server: server.nodes.delete("n4"))
    wait_for("n4 is gone", lambda: len(first.status()["leases"]) == 2, 1)
    kube.put(4, cidr="10.244.2.0/24", created="2027-01-01T00:00:00Z")
    line = first.says("node-refused")
    assert "subnets 10.244.2.0/24 of node n2 and 10.244.2.0/24 of node n4 overlap" in line
    assert [one["node"] for one in first.status()["refused"]] == ["n4"]
    assert kube.n1.pings("10.244.2.0")


def away(kube: KubeCluster) -> None:
    """For a minute; meanwhile n3 changes more than once."""
    kube.api.wait(kube.server.stop())
    for turn in range(6):
        kube.put(3, public_ip=f"192.168.9.{turn}")
        time.sleep(AWAY_SECONDS / 6)
    kube.put(3, public_ip="192.168.9.9")
    kube.api.wait(kube.server.start())


def restarted(kube: KubeCluster) -> None:
    kube.api.wait(kube.server.stop())
    kube.put(3, public_ip="192.168.9.9")
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
    for name in ("n1", "n2"):
        kube.api.do(lambda server, n=name: server.change(n, **dict.fromkeys(keys)))  # type: ignore[misc]
    kube.put(3, public_ip="192.168.9.9")


def shuffled(kube: KubeCluster) -> None:
    for turn in range(20):
        kube.put(3, public_ip=f"192.168.9.{turn}")
    kube.put(3, public_ip="192.168.9.9")
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
def test_adversity(
    nodes: tuple[KubeCluster, Agent, Agent], adversity: Callable[[KubeCluster], None]
) -> None:
    kube, *agents = nodes
    flow = kube.flow()
    adversity(kube)
    for agent in agents:
        wait_for(
            "the truth",
            lambda a=agent: kube.third_is(a, "192.168.9.9") and len(a.status()["leases"]) == 2,  # type: ignore[misc]
            RETURN_SECONDS,
        )
    course = flow.end()
    assert course.longest < STALL_SECONDS, f"TCP stood still for {course.longest:.1f} s"
    assert course.answers > 10
    for name in ("n1", "n2"):
        wait_for("annotations", lambda n=name: len(kube.published(n)) == 4)  # type: ignore[misc]
    assert kube.server.verbs() <= FLANNEL_ROLE


def test_a_start_without_the_api_server_forwards_by_what_was_saved(
    nodes: tuple[KubeCluster, Agent, Agent],
) -> None:
    kube, first, _ = nodes
    saved = first.run_dir / "leases.saved"
    wait_for("the saved state", lambda: saved.exists() and b"n2" in saved.read_bytes())
    mac = first.tunnel()["vtep-mac"]
    kube.api.wait(kube.server.stop())
    first.stop(signal.SIGKILL)
    again = kube.start("n1")
    assert 'leases-of="saved state"' in again.says("forwarding")
    assert kube.n1.pings("10.244.2.0")
    status = again.status()
    assert status["source"]["leases-of"] == "saved state"
    assert status["source"]["standing"] == "away"
    assert (again.tunnel()["vtep-mac"], len(status["leases"])) == (mac, 2)
    kube.put(3, public_ip="192.168.9.9")
    kube.api.wait(kube.server.start())
    wait_for("the truth", lambda: kube.third_is(again, "192.168.9.9"), RETURN_SECONDS)
    assert again.status()["source"]["leases-of"] == "source"


def test_the_last_leases_are_saved_at_a_clean_end(
    nodes: tuple[KubeCluster, Agent, Agent],
) -> None:
    kube, first, _ = nodes
    wait_for("the saved state", (first.run_dir / "leases.saved").exists)
    seen = len(first.lines("leases"))
    kube.put(3, public_ip="192.168.9.9")
    first.says("leases", times=seen + 1)
    assert first.stop()[0] == 0
    kube.api.wait(kube.server.stop())
    again = kube.started("n1")
    assert kube.third_is(again, "192.168.9.9")


@pytest.mark.parametrize("content", [b"", b"not ours", b"fwd leases 1\n\0\0\0\0rest"])
def test_a_damaged_saved_state_is_set_aside(kube: KubeCluster, content: bytes) -> None:
    run_dir = kube.directory / "n1"
    run_dir.mkdir()
    (run_dir / "leases.saved").write_bytes(content)
    agent = kube.started("n1")
    assert "leases.saved.set-aside" in agent.says("saved-state-set-aside")
    assert (run_dir / "leases.saved.set-aside").read_bytes() == content


def test_a_subnet_that_changes_is_registered_anew(
    nodes: tuple[KubeCluster, Agent, Agent],
) -> None:
    kube, first, second = nodes
    mac = first.tunnel()["vtep-mac"]
    kube.put(1, cidr="10.244.77.0/24", annotations=kube.published("n1"))
    assert "subnet=10.244.77.0/24" in first.says("own-lease-changed")
    first.says("tunnel-restored")
    wait_for("n2 knows", lambda: "10.244.77.0/24" in str(second.status()["leases"]))
    assert kube.n2.pings("10.244.77.0")
    assert "FLANNEL_SUBNET=10.244.77.1/24" in (first.run_dir / "subnet.env").read_text()
    assert first.tunnel()["vtep-mac"] == mac


def test_an_overwrite_changes_what_is_published_and_nothing_else(
    nodes: tuple[KubeCluster, Agent, Agent],
) -> None:
    kube, first, _ = nodes
    kube.api.do(lambda server: server.change("n1", public_ip_overwrite="203.0.113.1"))
    wait_for("published", lambda: kube.published("n1")[P + "public-ip"] == "203.0.113.1")
    assert not first.lines("tunnel-restored"), "packets flowed on"
    kube.api.do(lambda server: server.change("n1", public_ip_overwrite=None))
    wait_for("back", lambda: kube.published("n1")[P + "public-ip"] == "192.168.50.1")


def test_without_a_subnet_it_waits_and_says_so(kube: KubeCluster) -> None:
    kube.put(1, cidr="", annotations={})
    agent = kube.start("n1")
    assert "pod cidr not assigned" in agent.says("waiting")
    kube.put(1, annotations={})
    agent.says("forwarding")
