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
from tests.netns.agent_support import FACTS, Agent, wait_for
from tests.netns.kube_cluster import KubeCluster, running
from tests.unit.kube_support import node_object

pytestmark = [pytest.mark.netns, pytest.mark.root]

RETURN_SECONDS = 5.0
STALL_SECONDS = 0.5
"""A TCP answer later than this has been stopped; retransmission begins at 0.2 s."""
AWAY_SECONDS = 60.0
P = "flannel.alpha.coreos.com/"
KEYS = {4: ("backend-data", "public-ip"), 6: ("backend-v6-data", "public-ipv6")}
GATEWAY = {
    4: "FLANNEL_SUBNET=10.244.2.1/24\n",
    6: "FLANNEL_IPV6_SUBNET=fd00:244:0:2::1/64\n",
}
"""Of n2."""


@pytest.fixture
def families() -> tuple[int, ...]:
    """Both at once, unless a test says otherwise: what goes wrong goes wrong for both."""
    return (4, 6)


@pytest.fixture
def kube(tmp_path: Path, families: tuple[int, ...]) -> Iterator[KubeCluster]:
    with running(KubeCluster(tmp_path, families=families)) as made:
        yield made


@pytest.fixture
def nodes(kube: KubeCluster) -> tuple[KubeCluster, Agent, Agent]:
    """Both forward to each other."""
    agents = kube.started("n1"), kube.started("n2")
    for agent in agents:
        count = 2 * len(kube.families)
        wait_for("all leases", lambda a=agent, c=count: len(a.status()["leases"]) == c)  # type: ignore[misc]
    return kube, *agents


@pytest.mark.parametrize("families", [(4,), (6,), (4, 6)], ids=["IPv4", "IPv6", "dual"])
def test_two_nodes_meet_through_the_api(nodes: tuple[KubeCluster, Agent, Agent]) -> None:
    kube, first, second = nodes
    assert kube.reaches(kube.n1, "n2")
    published = {P + "backend-type": "vxlan", P + "kube-subnet-manager": "true"}
    for family in kube.families:
        data, address = KEYS[family]
        mac = first.tunnel(family)["vtep-mac"]
        published[P + data] = '{"VNI":1,"VtepMAC":"' + mac + '"}'
        published[P + address] = FACTS[family].underlay("n1")
    assert kube.published("n1") == published
    assert len(kube.server.patches()) == 4, "of each node one with annotations, one condition"
    status = second.status()
    assert status["source"]["standing"] == "watching"
    assert status["source"]["leases-of"] == "source"
    assert status["refused"] == []
    told = len(second.lines("vtep-mac"))
    assert told == len(kube.families), "what it has published is no news to it"
    text = (second.run_dir / "subnet.env").read_text()
    assert all(GATEWAY[family] in text for family in kube.families)
    assert kube.server.verbs() <= FLANNEL_ROLE


def test_a_node_joins_and_leaves(nodes: tuple[KubeCluster, Agent, Agent]) -> None:
    kube, first, _ = nodes
    kube.put(4)
    wait_for("n4", lambda: len(first.status()["leases"]) == 6, 1)
    kube.api.do(lambda server: server.nodes.delete("n4"))
    wait_for("n4 is gone", lambda: len(first.status()["leases"]) == 4, 1)
    usurper = node_object(4, cidr="10.244.2.0/24", created="2027-01-01T00:00:00Z")
    kube.api.do(lambda server: server.nodes.put(usurper))
    line = first.says("node-refused")
    assert "subnets 10.244.2.0/24 of node n2 and 10.244.2.0/24 of node n4 overlap" in line
    assert [one["node"] for one in first.status()["refused"]] == ["n4"]
    assert kube.reaches(kube.n1, "n2")


def test_a_peer_that_gets_a_second_family_later(nodes: tuple[KubeCluster, Agent, Agent]) -> None:
    """And loses it again: what changes in one family leaves the other alone."""
    kube, first, _ = nodes
    only = node_object(4)
    kube.api.do(lambda server: server.nodes.put(only))
    wait_for("n4 over IPv4", lambda: len(first.status()["leases"]) == 5, 1)
    assert first.status()["refused"] == []
    kube.put(4)
    wait_for("and IPv6", lambda: len(first.status()["leases"]) == 6, 1)
    kube.api.do(lambda server: server.change("n4", public_ipv6="fd09::4"))
    wait_for("and elsewhere", lambda: "fd09::4" in str(first.status()["leases"]), 1)
    kube.api.do(lambda server: server.nodes.put(only))
    wait_for("and no more", lambda: len(first.status()["leases"]) == 5, 1)
    assert kube.reaches(kube.n1, "n2")


def away(kube: KubeCluster) -> None:
    """For a minute; meanwhile n3 changes more than once."""
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
def test_adversity(
    nodes: tuple[KubeCluster, Agent, Agent], adversity: Callable[[KubeCluster], None]
) -> None:
    kube, *agents = nodes
    flows = kube.flows()
    adversity(kube)
    for agent in agents:
        wait_for(
            "the truth",
            lambda a=agent: kube.knows_all(a, 9),  # type: ignore[misc]
            RETURN_SECONDS,
        )
    for course in [flow.end() for flow in flows]:
        assert course.longest < STALL_SECONDS, f"TCP stood still for {course.longest:.1f} s"
        assert course.answers > 10
    for name in ("n1", "n2"):
        wait_for("annotations", lambda n=name: len(kube.published(n)) == 6)  # type: ignore[misc]
    assert kube.server.verbs() <= FLANNEL_ROLE


def test_a_start_without_the_api_server_forwards_by_what_was_saved(
    nodes: tuple[KubeCluster, Agent, Agent],
) -> None:
    kube, first, _ = nodes
    saved = first.run_dir / "leases.saved"
    wait_for("the saved state", lambda: saved.exists() and b"n2" in saved.read_bytes())
    macs = [first.tunnel(family)["vtep-mac"] for family in kube.families]
    kube.api.wait(kube.server.stop())
    first.stop(signal.SIGKILL)
    again = kube.start("n1")
    assert 'leases-of="saved state"' in again.says("forwarding", times=2)
    assert kube.reaches(kube.n1, "n2")
    status = again.status()
    assert status["source"]["leases-of"] == "saved state"
    assert status["source"]["standing"] == "away"
    assert [again.tunnel(family)["vtep-mac"] for family in kube.families] == macs
    assert len(status["leases"]) == 4
    kube.put_third(9)
    kube.api.wait(kube.server.start())
    wait_for("the truth", lambda: kube.knows_all(again, 9), RETURN_SECONDS)
    assert again.status()["source"]["leases-of"] == "source"


def test_the_last_leases_are_saved_at_a_clean_end(
    nodes: tuple[KubeCluster, Agent, Agent],
) -> None:
    kube, first, _ = nodes
    wait_for("the saved state", (first.run_dir / "leases.saved").exists)
    seen = len(first.lines("leases"))
    kube.put_third(9)
    first.says("leases", times=seen + 1)
    assert first.stop()[0] == 0
    kube.api.wait(kube.server.stop())
    again = kube.started("n1")
    assert kube.knows_all(again, 9)


@pytest.mark.parametrize("content", [b"", b"not ours", b"fwd leases 2\n\0\0\0\0rest"])
def test_a_damaged_saved_state_is_set_aside(kube: KubeCluster, content: bytes) -> None:
    run_dir = kube.directory / "n1"
    run_dir.mkdir()
    (run_dir / "leases.saved").write_bytes(content)
    agent = kube.started("n1")
    assert "leases.saved.set-aside" in agent.says("saved-state-set-aside")
    assert (run_dir / "leases.saved.set-aside").read_bytes() == content


@pytest.mark.parametrize("family", [4, 6], ids=["IPv4", "IPv6"])
def test_a_subnet_that_changes_is_registered_anew(
    nodes: tuple[KubeCluster, Agent, Agent], family: int
) -> None:
    """In one family; packets of the other flow on."""
    kube, first, second = nodes
    flow = kube.flow("n2", 10 - family)
    mac = first.tunnel(family)["vtep-mac"]
    new = {one: FACTS[one].subnet("n77" if one == family else "n1") for one in kube.families}
    spec = {"podCIDR": new[4], "podCIDRs": list(new.values())}
    kube.put(1, spec=spec, annotations=kube.published("n1"))
    assert f"subnet={new[family]}" in first.says("own-lease-changed")
    assert f"device={FACTS[family].device}" in first.says("tunnel-restored")
    wait_for("n2 knows", lambda: new[family] in str(second.status()["leases"]))
    assert kube.n2.pings(FACTS[family].tunnel_ip("n77"))
    gateway = GATEWAY[family].replace("2.1/", "77.1/").replace(":2::", ":77::")
    assert gateway in (first.run_dir / "subnet.env").read_text()
    assert first.tunnel(family)["vtep-mac"] == mac
    assert flow.end().longest < STALL_SECONDS


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
