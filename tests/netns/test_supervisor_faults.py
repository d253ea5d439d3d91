# SPDX-License-Identifier: Apache-2.0
"""`fwd run --supervise`: an agent that fails, and a supervisor that is given up by its agent."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.netns.agent_support import BOTH_FAMILIES, FACTS, Cluster, key, wait_for
from tests.netns.kube_cluster import KubeCluster, running
from tests.netns.test_supervisor import DEVICES, Supervised, answers_late, links

pytestmark = [pytest.mark.netns, pytest.mark.root, BOTH_FAMILIES]
FAILS = """
import asyncio
from pathlib import Path
from fwd.agent import Agent

tell = Agent._tell_ready

async def tell_ready(self):
    await tell(self)
    while not Path({path!r}).exists():
        await asyncio.sleep(0.02)
    Path({path!r}).unlink()
    raise ValueError("planted")

Agent._tell_ready = tell_ready
"""
"""A sitecustomize: one of an agent's tasks fails once that file is there."""
SOURCE_FAILS = """
import asyncio
from pathlib import Path
from fwd.sources.kube import KubeSource

async def publish(self):
    while not Path({path!r}).exists():
        await asyncio.sleep(0.02)
    Path({path!r}).unlink()
    raise ValueError("planted")

KubeSource._publish = publish
"""
"""Another: a task of its source of leases does."""
DIES = """
import os, signal
from pathlib import Path
from fwd.node.handover.store import Store

put = Store.put

def once(self, name, *words):
    put(self, name, *words)
    if name != "lock" and Path({path!r}).exists():
        Path({path!r}).unlink()
        os.kill(os.getpid(), signal.SIGKILL)

Store.put = once
"""
"""Another: it is killed between the two words that it has for a tunnel."""
LACKS = """
import errno, os
from pathlib import Path

create = os.memfd_create

def once(*words):
    if Path({path!r}).exists():
        Path({path!r}).unlink()
        raise OSError(errno.EMFILE, "Too many open files")
    return create(*words)

os.memfd_create = once
"""
"""Another: it has no descriptor left for a moment."""


@contextmanager
def supervised(cluster: Cluster, *flags: str) -> Iterator[Supervised]:
    made = Supervised(cluster.start("n1", "--supervise", *flags))
    try:
        made.agent.says("host-ready")
        yield made
    finally:
        made.remove()


def plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str = FAILS) -> Path:
    """For agents that are started later: a file that makes one fail."""
    path = tmp_path / "fail"
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(fault.format(path=str(path)))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    return path


@pytest.mark.parametrize("spare", [True, False], ids=["spare", "no spare"])
def test_an_agent_that_fails_leaves_all_to_the_next(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, spare: bool
) -> None:
    cluster.start("n2").says("host-ready")
    failure = plant(tmp_path, monkeypatch)
    with supervised(cluster, f"--spare={str(spare).lower()}") as made:
        agent, before = made.agent, links(cluster, "ifindex")
        for times in (1, 2):
            fail(made, failure, spare=spare)
            if times == 1 or not spare:  # a second spare comes after a pause, if soon enough
                assert answers_late(cluster, deep=not spare)
            assert f"devices={','.join(DEVICES)}" in agent.says("revived", times=times)
            assert 'reason="exit code 1"' in agent.says("agent-crashed", times=times)
            agent.says("host-ready", times=times + 1)
        assert agent.log.count("ValueError: planted") == 2
        assert links(cluster, "ifindex") == before
        assert cluster.reaches(cluster.n1, "n2")
        fail(made, failure, spare=spare)
        agent.says("store-dropped")
        agent.says("host-ready", times=4)
        assert len(agent.lines("revived")) == 2, "perhaps it failed of what was kept"
        assert cluster.reaches(cluster.n1, "n2")
        os.kill(made.child, signal.SIGTERM)
        assert agent.ended() == 0, "an orderly end is no crash"


def test_a_source_of_leases_that_fails_leaves_all_to_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, families: tuple[int, ...]
) -> None:
    failure = plant(tmp_path, monkeypatch, SOURCE_FAILS)
    kube = KubeCluster(tmp_path, families=families)
    with running(kube), supervised(kube, "--spare=false") as made:
        fail(made, failure, spare=False)
        assert 'reason="exit code 1"' in made.agent.says("agent-crashed")
        assert f"devices={','.join(DEVICES)}" in made.agent.says("revived")
        assert "ValueError: planted" in made.agent.log


def fail(made: Supervised, failure: Path, *, spare: bool) -> None:
    """Once there is a spare, if there is to be one."""
    child = made.child
    if spare:
        assert made.spare
    failure.touch()
    wait_for("its end", lambda: made.child != child)


def test_a_supervisor_that_was_given_up_keeps_nothing_and_stands_by(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not run for longer than its agent waits for an answer."""
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
    cluster.start("n2").says("host-ready")
    with supervised(cluster, "--spare=false") as first:
        assert queues_held(first.supervisor) > 0
        os.kill(first.supervisor, signal.SIGSTOP)
        cluster.entries.pop(key("n2", 6))
        cluster.write()
        first.agent.says("supervisor-lost")
        os.kill(first.supervisor, signal.SIGCONT)
        wait_for("closed copies", lambda: queues_held(first.supervisor) == 0)
        assert cluster.n1.pings(FACTS[4].tunnel_ip("n2"))
        second = cluster.start("n1")
        second.says("taken-over")
        first.agent.says("stands-by")
        second.stop(signal.SIGKILL)
        first.agent.says("host-ready", times=2)
        assert cluster.n1.pings(FACTS[4].tunnel_ip("n2"))


def queues_held(pid: int) -> int:
    found = []
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):  # closed just now
            found.append(str(path.readlink()))
    return found.count("/dev/net/tun")


@pytest.mark.parametrize("fault", [DIES, LACKS], ids=["killed", "no descriptor"])
def test_a_tunnel_that_is_half_kept_is_in_nobodys_way(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """Nor is one said to be down that forwards."""
    cluster.start("n2").says("host-ready")
    plant(tmp_path, monkeypatch, fault).touch()
    with supervised(cluster, "--spare=false") as made:
        agent = made.agent
        assert cluster.reaches(cluster.n1, "n2")
        assert len(agent.lines("agent-crashed")) == (fault == DIES)
        assert "in use by another process" not in agent.log
        assert agent.lines("tunnel-down") == []
        wait_for("copies of both", lambda: queues_held(made.supervisor) == queues_held(made.child))
        made.crash()
        said = agent.says("revived")
        assert all(device in said for device in DEVICES)
