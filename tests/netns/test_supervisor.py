# SPDX-License-Identifier: Apache-2.0
"""`fwd run --supervise`: a crash costs the time to start, and what ends the agent ends both."""

import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from fwd.core.heartbeat import IDLE_SECONDS, STUCK_SECONDS
from fwd.plane import EXIT_STUCK
from fwd.supervisor.queues import DEEP
from tests.netns import threads
from tests.netns.agent_support import BOTH_FAMILIES, FACTS, Agent, Cluster, wait_for

pytestmark = [pytest.mark.netns, pytest.mark.root, BOTH_FAMILIES]
DEVICES = [facts.device for facts in FACTS.values()]


class Supervised:
    """An agent with its supervisor; both are gone after remove()."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.supervisor = agent.pid

    @property
    def children(self) -> list[int]:
        """The agent first, then the one that waits, if there is one."""
        path = Path(f"/proc/{self.supervisor}/task/{self.supervisor}/children")
        return [int(one) for one in path.read_text().split()]

    @property
    def child(self) -> int:
        found: list[int] = []

        def runs() -> bool:
            found[:] = self.children
            return found != []

        wait_for("an agent", runs)
        return found[0]

    @property
    def spare(self) -> int:
        """Once it waits."""
        found: list[int] = []

        def waits() -> bool:
            found[:] = self.children[1:]
            return [name_of(one) for one in found] == ["fwd-spare"]

        wait_for("a spare", waits)
        return found[0]

    def crash(self, how: int = signal.SIGKILL) -> int:
        child = self.child
        os.kill(child, how)
        wait_for("its end", lambda: self.child != child)
        return self.child

    def remove(self) -> None:
        children = self.children if self.agent._process.poll() is None else []
        self.agent.remove()
        for child in children:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)


def name_of(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


def links(cluster: Cluster, field: str) -> list[int]:
    """Of the first node's tunnels."""
    return [int(cluster.n1.show("link", "show", device)[0][field]) for device in DEVICES]


def answers_late(cluster: Cluster, *, deep: bool) -> bool:
    """Asked while nobody forwards: it waits in the TUNs' queues.

    Where these are made deep first, not before they are: meanwhile a device has no qdisc, and
    what is sent then is lost (dev_qdisc_change_tx_queue_len in net/core/dev.c).
    """
    if deep:
        wait_for("deep queues", lambda: are_deep(cluster))
    both = 'ping -nc1 -W5 "$1" & first=$!; ping -nc1 -W5 "$2" && wait $first'
    addresses = [facts.tunnel_ip("n2") for facts in FACTS.values()]
    return cluster.n1.run("sh", "-c", both, "sh", *addresses).returncode == 0


def are_deep(cluster: Cluster) -> bool:
    return links(cluster, "txqlen") == [DEEP] * len(DEVICES)


@pytest.fixture
def flags() -> Sequence[str]:
    return ("--spare=false",)


@pytest.fixture
def supervised(cluster: Cluster, flags: Sequence[str]) -> Iterator[Supervised]:
    cluster.start("n2").says("host-ready")
    made = Supervised(cluster.start("n1", "--supervise", *flags))
    try:
        made.agent.says("host-ready")
        assert cluster.reaches(cluster.n1, "n2")
        yield made
    finally:
        made.remove()


def test_a_crash_costs_no_packet_that_the_kernel_has_room_for(
    cluster: Cluster, supervised: Supervised
) -> None:
    agent = supervised.agent
    before = links(cluster, "ifindex")
    supervised.crash()
    assert answers_late(cluster, deep=True)
    assert f"devices={','.join(DEVICES)}" in agent.says("revived")
    assert 'reason="signal 9 (SIGKILL)"' in agent.says("agent-crashed")
    agent.says("host-ready", times=2)
    assert links(cluster, "ifindex") == before, "the devices have never gone"
    assert cluster.reaches(cluster.n1, "n2")
    descriptors = Path(f"/proc/{supervised.supervisor}/fd")
    held = len(list(descriptors.iterdir()))
    supervised.crash()
    agent.says("host-ready", times=3)
    assert len(list(descriptors.iterdir())) == held
    assert agent.stop()[0] == 0
    assert agent.lines("stopped") != []
    assert cluster.started("n1").lines("revived") == []


@pytest.mark.parametrize("flags", [()])
def test_who_waits_is_the_next_agent(cluster: Cluster, supervised: Supervised) -> None:
    agent, spare = supervised.agent, supervised.spare
    opened = [str(path.readlink()) for path in Path(f"/proc/{spare}/fd").iterdir()]
    assert "/dev/net/tun" not in opened, "what the agent closes has nobody else open"
    cluster.n1.ip("link", "del", cluster.facts.device)
    agent.says("tunnel-restored")
    assert cluster.reaches(cluster.n1, "n2")
    assert supervised.crash() == spare
    assert answers_late(cluster, deep=False)
    agent.says("revived")
    agent.says("host-ready", times=2)
    assert name_of(supervised.child) != "fwd-spare"
    assert os.getpgid(spare) == spare, "what a terminal says to all of a group it hears once"
    second = supervised.spare
    os.kill(second, signal.SIGKILL)
    agent.says("spare-lost")
    supervised.crash()
    agent.says("revived", times=2)
    agent.says("host-ready", times=3)
    assert cluster.reaches(cluster.n1, "n2")
    child, third = supervised.child, supervised.spare
    agent.remove()
    try:
        wait_for("its end", lambda: name_of(third) != "fwd-spare")
    finally:
        os.kill(child, signal.SIGKILL)  # it goes on without its supervisor


@pytest.mark.parametrize(
    ("how", "least", "most"),
    [
        ("spin", STUCK_SECONDS, IDLE_SECONDS - 2),
        ("hold", IDLE_SECONDS, IDLE_SECONDS + 5),
    ],
)
def test_a_worker_that_is_stuck_is_a_crash(
    cluster: Cluster, supervised: Supervised, how: str, least: float, most: float
) -> None:
    """Sooner if it runs; its last turn was a second ago, if it slept."""
    worker = threads.workers(supervised.child, 0)[-1]
    getattr(threads, how)(worker)
    begin = time.monotonic()
    assert "worker=0" in supervised.agent.says("worker-stuck")
    assert least - 1.5 <= time.monotonic() - begin <= most
    if how == "hold":
        threads.see_end(worker)
    assert f"exit code {EXIT_STUCK}" in supervised.agent.says("agent-crashed")
    supervised.agent.says("host-ready", times=2)
    assert cluster.reaches(cluster.n1, "n2")


def test_a_worker_that_is_stuck_is_not_waited_for_at_the_end(supervised: Supervised) -> None:
    child = supervised.child
    threads.spin(threads.workers(child, 0)[-1])
    os.kill(child, signal.SIGTERM)
    assert f"exit code {EXIT_STUCK}" in supervised.agent.says("agent-crashed")
    assert "a worker does not stop" in supervised.agent.log


def test_a_loop_of_crashes_goes_round_less_and_less_often(supervised: Supervised) -> None:
    agent = supervised.agent
    for _ in range(4):
        supervised.crash()
    said = agent.says("agent-crashed", times=4)
    assert "in-a-row=4" in said
    assert "again-in-seconds=1" in said
    assert len(agent.lines("store-dropped")) == 1


def test_systemd_tells_both(supervised: Supervised) -> None:
    """The agent hears it twice, for its supervisor passes it on, and ends in order all the same."""
    child = supervised.child
    os.kill(supervised.supervisor, signal.SIGTERM)
    for _ in range(10):
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGTERM)
        time.sleep(0.005)
    assert supervised.agent.ended() == 0
    assert len(supervised.agent.lines("stopped")) == 1
    assert supervised.agent.lines("agent-crashed") == []


def test_queues_are_deep_only_while_nobody_reads(cluster: Cluster, supervised: Supervised) -> None:
    agent, usual = supervised.agent, links(cluster, "txqlen")
    supervised.crash()
    wait_for("deep queues", lambda: are_deep(cluster))
    wait_for("the queues' own length", lambda: links(cluster, "txqlen") == usual)
    supervised.crash()
    wait_for("deep queues", lambda: are_deep(cluster))
    agent.stop()  # before its queues have run empty
    assert links(cluster, "txqlen") == usual


def test_supervised_agents_follow_each_other(cluster: Cluster, supervised: Supervised) -> None:
    second = Supervised(cluster.start("n1", "--supervise", "--spare=false"))
    try:
        second.agent.says("taken-over")
        assert supervised.agent.ended() == 0
        assert cluster.reaches(cluster.n1, "n2")
        second.crash()
        assert answers_late(cluster, deep=True)
        second.agent.says("revived")
    finally:
        second.remove()


def test_an_agent_that_cannot_begin_ends_its_supervisor(cluster: Cluster) -> None:
    agent = cluster.start("n1", "--supervise", "--iface", "nosuch")
    assert agent.ended() == 1
    assert agent.log.splitlines()[-1].startswith("fwd run: ")
    agent = cluster.start("n1", "--supervise", "--no-such-flag")
    assert agent.ended() == 2


def test_an_agent_that_fails_after_its_first_tunnel_could_not_begin(cluster: Cluster) -> None:
    cluster.start("n2").says("host-ready")
    hindrance = cluster.directory / "n1" / "fwd.sock.new"
    for before in ([], [cluster.n1]):
        hindrance.mkdir(parents=True)
        agent = cluster.start("n1", "--supervise")
        assert agent.ended() == 1
        assert str(hindrance) in agent.log.splitlines()[-1]
        assert not agent.lines("agent-crashed")
        assert all(cluster.reaches(node, "n2") for node in before), "the one before goes on"
        hindrance.rmdir()
        if not before:
            cluster.started("n1")


def test_in_a_pod_it_stands_by(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
    cluster.start("n2").says("host-ready")
    first, second = Supervised(cluster.start("n1", "--supervise")), None
    try:
        first.agent.says("host-ready")
        second = cluster.start("n1")
        second.says("taken-over")
        first.agent.says("stands-by")
        assert second.stop(signal.SIGKILL)[0] == -signal.SIGKILL
        first.agent.says("stands-by-no-more")
        first.agent.says("host-ready", times=2)
        assert cluster.reaches(cluster.n1, "n2")
    finally:
        first.remove()
