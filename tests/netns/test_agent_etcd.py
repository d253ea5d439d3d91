# SPDX-License-Identifier: Apache-2.0
"""`fwd run` with leases from a real etcd: two nodes forward TCP while etcd has its troubles.

After each one the third node's change is in both tables within 5 s, and TCP never stopped.
FWD_ETCD_AWAY=60 makes the outage as long as that.  Excluded: what is written when and by whom
(tests/unit/test_etcd_*.py).
"""

import os
import signal
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from ipaddress import ip_network
from pathlib import Path

import pytest

from fwd.plane import EXIT_STUCK
from tests.etcd_server import PREFIX, SUBNETS
from tests.netns import threads
from tests.netns.agent_support import BOTH_FAMILIES, EACH_FAMILY, Agent, wait_for
from tests.netns.etcd_cluster import (
    EtcdCluster,
    addresses,
    key_of,
    peers,
    running,
    subnets,
    tunnels,
)
from tests.netns.test_supervisor import Supervised

pytestmark = [pytest.mark.netns, pytest.mark.root]

ADMIN = (("user", "add", "root:root"), ("user", "grant-role", "root", "root"))
RETURN_SECONDS = 5.0
STALL_SECONDS = 1.0
"""A TCP answer later than this was stopped; what is lost is sent again after 0.2 and 0.6 s."""
AWAY_SECONDS = float(os.environ.get("FWD_ETCD_AWAY", "3"))


@pytest.fixture
def cluster(tmp_path: Path, families: tuple[int, ...]) -> Iterator[EtcdCluster]:
    with running(tmp_path, families=families) as made:
        yield made


@pytest.fixture
def nodes(cluster: EtcdCluster) -> tuple[EtcdCluster, Agent, Agent]:
    """Both forward to each other, and know a third node, one of flannel's."""
    return cluster, *cluster.meet()


@BOTH_FAMILIES
def test_forwarding_never_stops_whatever_becomes_of_etcd(
    nodes: tuple[EtcdCluster, Agent, Agent],
) -> None:
    cluster, first, second = nodes
    agents = first, second
    own = {subnets(agent) for agent in agents}
    flows, told = cluster.flows(second), Said(agents)
    for trouble in (away, compacted, unwelcome, unknown, restored, deleted, expired):
        trouble(cluster, agents, told)
    for course in [flow.end() for flow in flows]:
        assert course.longest < STALL_SECONDS, f"TCP stood still for {course.longest:.1f} s"
        assert course.answers > 100
    assert {subnets(agent) for agent in agents} == own


def away(cluster: EtcdCluster, agents: tuple[Agent, ...], told: "Said") -> None:
    cluster.etcd.stop()
    time.sleep(AWAY_SECONDS)
    cluster.etcd.start()
    cluster.third(4)
    cluster.know(agents, 4, limit=RETURN_SECONDS)
    told.outage()


def compacted(cluster: EtcdCluster, agents: tuple[Agent, ...], told: "Said") -> None:
    cluster.etcd.stop()
    cluster.etcd.start()
    cluster.third(5)
    cluster.etcd.ctl("compact", str(cluster.etcd.revision))
    cluster.know(agents, 5, limit=RETURN_SECONDS)
    told.outage()


def unwelcome(cluster: EtcdCluster, agents: tuple[Agent, ...], told: "Said") -> None:
    """Their certificate is of another authority."""
    cluster.certify(is_right=False)
    cluster.etcd.stop()
    cluster.etcd.start()
    time.sleep(1.0)
    assert all(agent.status()["source"]["standing"] == "away" for agent in agents)
    cluster.certify(is_right=True)
    cluster.third(10)
    cluster.know(agents, 10, limit=RETURN_SECONDS)
    told.outage()


def unknown(cluster: EtcdCluster, agents: tuple[Agent, ...], told: "Said") -> None:
    """Their password is another one, after an outage, which is one more event."""
    etcd = cluster.etcd
    for words in (*ADMIN, ("user", "add", "fwd:another"), ("auth", "enable")):
        etcd.ctl(*words)
    etcd.stop()
    told.now("etcd")
    etcd.start()
    told.now("etcd")
    assert all("authentication failed" in agent.lines("etcd")[-1] for agent in agents)
    etcd.ctl("auth", "disable", user=("--user", "root:root"))
    cluster.third(5)
    cluster.know(agents, 5, limit=RETURN_SECONDS)
    told.now("etcd-connected")


def restored(cluster: EtcdCluster, agents: tuple[Agent, ...], told: "Said") -> None:
    saved = cluster.etcd.snapshot()
    for number in (6, 7):
        cluster.third(number)
    cluster.know(agents, 7, limit=RETURN_SECONDS)
    cluster.etcd.stop()
    cluster.etcd.restore(saved)
    cluster.etcd.start()
    cluster.know(agents, 5, limit=RETURN_SECONDS)
    told.outage("etcd-went-back")


def deleted(cluster: EtcdCluster, agents: tuple[Agent, ...], told: "Said") -> None:
    before = cluster.etcd.leases()
    for agent in agents:
        cluster.etcd.ctl("del", SUBNETS + key(agent))
        agent.says("lease-put-back")
    told.now("lease-put-back")
    assert cluster.etcd.leases() == before


def expired(cluster: EtcdCluster, agents: tuple[Agent, ...], told: "Said") -> None:
    """While nobody could renew them."""
    etcd, before = cluster.etcd, cluster.etcd.leases()
    etcd.stop()
    etcd.start()
    for agent in agents:
        etcd.ctl("lease", "revoke", f"{etcd.lease_id(key(agent)):x}")
    cluster.third(8)
    cluster.know(agents, 8, limit=RETURN_SECONDS)
    told.outage("lease-put-back")
    now = etcd.leases()
    assert [now[key(agent)] for agent in agents] == [before[key(agent)] for agent in agents]


def key(agent: Agent) -> str:
    return key_of(subnets(agent))


class Said:
    """What agents say of etcd and of their keys: each event in one line, and no other one."""

    def __init__(self, agents: Iterable[Agent]) -> None:
        self._expected = {agent: self._found(agent) for agent in agents}

    def outage(self, *events: str) -> None:
        """One was, it is over, and there is this to tell, too."""
        self.now("etcd", "etcd-connected", *events)

    def now(self, *events: str) -> None:
        """These are the news."""
        for agent, expected in self._expected.items():
            expected.update(events)
            wait_for(
                f"{expected} in {agent.log}",
                lambda a=agent, e=expected: self._found(a) == e,  # type: ignore[misc]
                RETURN_SECONDS,
            )

    @staticmethod
    def _found(agent: Agent) -> Counter[str]:
        words = [line.partition(" event=")[2].partition(" ") for line in agent.log.splitlines()]
        found = Counter(
            event for event, _, _ in words if event.startswith(("etcd", "lease-", "own-"))
        )
        # An outage that the first retry has ended is told with the new connection.
        found["etcd"] += sum(
            event == "etcd-connected" and " error=" in fields for event, _, fields in words
        )
        return found


@BOTH_FAMILIES
def test_workers_are_watched_before_there_are_leases(cluster: EtcdCluster) -> None:
    """Those that were revived after a crash, while etcd is away and nothing is saved."""
    cluster.etcd.configure(cluster.conf)
    made = Supervised(cluster.start("n1", "--supervise", "--spare=false"))
    try:
        made.agent.says("host-ready")
        cluster.etcd.stop()
        for saved in made.agent.run_dir.glob("*.saved"):
            saved.unlink()
        child = made.crash()
        made.agent.says("revived")
        threads.spin(threads.workers(child, 0)[0])
        made.agent.says("worker-stuck")
        assert f"exit code {EXIT_STUCK}" in made.agent.says("agent-crashed", times=2)
        made.agent.says("revived", times=2)
    finally:
        made.remove()


@BOTH_FAMILIES
def test_a_start_without_etcd_forwards_by_what_was_saved(
    nodes: tuple[EtcdCluster, Agent, Agent],
) -> None:
    cluster, first, second = nodes
    saved = first.run_dir / "leases.saved"
    wait_for("the saved state", saved.exists)
    time.sleep(1.2)  # what came last is saved after a second
    before = macs(first), subnets(first)
    cluster.etcd.stop()
    first.stop(signal.SIGKILL)
    again = cluster.start("n1")
    assert 'leases-of="saved state"' in again.says("forwarding")
    assert all(cluster.n1.pings(address) for address in addresses(second))
    assert again.status()["source"]["standing"] == "away"
    assert ((macs(again), subnets(again)), len(peers(again))) == (before, 4)
    cluster.etcd.start()
    cluster.third(9)
    cluster.know((again,), 9, limit=RETURN_SECONDS)
    assert again.status()["source"]["leases-of"] == "source"


def macs(agent: Agent) -> list[str]:
    """Of its tunnels."""
    return [tunnel["vtep-mac"] for tunnel in tunnels(agent)]


@EACH_FAMILY
def test_a_subnet_that_is_another_nodes_by_now_is_given_up(
    nodes: tuple[EtcdCluster, Agent, Agent],
) -> None:
    cluster, first, second = nodes
    etcd, facts, (old,), (mac,) = cluster.etcd, cluster.facts, subnets(first), macs(first)
    name = key(first)
    taken = (
        etcd.leases()[name]
        .replace(f'"{facts.underlay("n1")}"', f'"{facts.underlay("n77")}"')
        .replace(mac, "02:00:00:00:07:07")
    )
    wait_for("its subnet is saved", (first.run_dir / "leases.saved").exists)
    first.stop(signal.SIGKILL)
    etcd.ctl("put", SUBNETS + name, taken)
    again = cluster.start("n1")
    line = again.says("own-subnet-changed")
    assert f"{name} belongs to another node by now" in line
    again.says("own-lease-changed")
    (new,) = subnets(again)
    wait_for("n2 knows", lambda: peers(second).get(new) == facts.underlay("n1"))
    assert new != old
    (address,) = addresses(again)
    assert cluster.n2.pings(address)
    gateway = f"_SUBNET={ip_network(new)[1]}/{ip_network(new).prefixlen}\n"
    wait_for("subnet.env", lambda: gateway in (again.run_dir / "subnet.env").read_text())
    assert peers(second)[old] == facts.underlay("n77")
    assert macs(again) == [mac]


@EACH_FAMILY
def test_a_start_waits_for_the_configuration_and_names_one_that_is_wrong(
    cluster: EtcdCluster,
) -> None:
    agent = cluster.start("n1")
    assert f"Put net-conf.json into the key {PREFIX}/config" in agent.says("waiting")
    time.sleep(1.5)
    assert len(agent.lines("waiting")) == 1
    name, longest = {4: ("SubnetLen", 31), 6: ("IPv6SubnetLen", 127)}[cluster.facts.family]
    cluster.etcd.configure(cluster.conf | {name: longest})
    assert agent.ended() == 1
    assert agent.log.splitlines()[-1] == (
        f"fwd run: {PREFIX}/config: SubnetLen must be less than /{longest}"
    )


@EACH_FAMILY
def test_a_wrong_password_ends_the_first_start_with_one_line(cluster: EtcdCluster) -> None:
    for words in (*ADMIN, ("auth", "enable")):
        cluster.etcd.ctl(*words)
    agent = cluster.start("n1", "--etcd-username=root", "--etcd-password=wrong")
    assert agent.ended() == 1
    assert agent.log.splitlines()[-1] == (
        f"fwd run: cannot read {PREFIX}/config: authentication failed, invalid user ID or password "
        "(--etcd-username and --etcd-password)"
    )
