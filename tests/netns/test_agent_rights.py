# SPDX-License-Identifier: Apache-2.0
"""What a running agent may do, by the kernel's word and by its own command: one of both families.

Each family has a tunnel of its own, with its own workers.
"""

import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fwd.core import rights
from tests.netns import threads
from tests.netns.agent_support import FACTS, Agent, Cluster
from tests.unable import require_filters

pytestmark = [pytest.mark.netns]
ADMIN = rights.bits([rights.NET_ADMIN])
PROGRAMS = rights.bits([rights.NET_ADMIN, rights.NET_RAW])


@pytest.fixture(scope="module", autouse=True)
def _filters() -> None:
    require_filters()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    made = Cluster(tmp_path_factory.mktemp("rights"), families=tuple(FACTS))
    try:
        made.build()
        yield made
    finally:
        made.remove()


def shown(agent: Agent, *flags: str) -> tuple[int, str]:
    argv = (sys.executable, "-m", "fwd", "rights", "--run-dir", str(agent.run_dir), *flags)
    done = agent.namespace.run(*argv)
    assert done.stderr == ""
    return done.returncode, done.stdout


def report(agent: Agent) -> dict[str, Any]:
    code, text = shown(agent, "--json")
    assert code == 0
    found: dict[str, Any] = json.loads(text)
    return found


def workers(found: dict[str, Any]) -> Counter[str]:
    """How many threads a worker's name has: one a family."""
    names = (one["name"] for one in found["threads"])
    return Counter(name for name in names if name.startswith("fwd-w"))


def test_no_thread_of_an_agent_has_more_than_it_needs(cluster: Cluster) -> None:
    agent = cluster.started("n1", "--workers=2")
    try:
        found = report(agent)
        assert found["pid"] == agent.pid
        assert workers(found) == {"fwd-w0": len(FACTS), "fwd-w1": len(FACTS)}
        for one in found["threads"]:
            is_worker = one["name"].startswith("fwd-w")
            assert one["effective"] == (0 if is_worker else ADMIN)
            assert one["permitted"] == (0 if is_worker else PROGRAMS)
            assert one["bounding"] == PROGRAMS
            assert (one["ambient"], one["no-new-privs"]) == (0, True)
            assert one["filters"] == (2 if is_worker else 1)
        assert found["tried"]
        assert [one for one in found["tried"] if not one["as-it-must"]] == []
        code, text = shown(agent)
        assert code == 0
        assert "capabilities in effect:  net_admin\n" in text
        assert f"workers ({2 * len(FACTS)}):" in text
        assert "NOT AS IT MUST BE" not in text
    finally:
        agent.stop()


def test_a_supervisor_and_its_agent_have_given_up_the_same(cluster: Cluster) -> None:
    agent = cluster.started("n1", "--supervise")
    try:
        supervisor = dict(
            line.split(":\t", 1)
            for line in Path(f"/proc/{agent.pid}/status").read_text().splitlines()
        )
        assert supervisor["NoNewPrivs"] == "1"
        assert int(supervisor["CapBnd"], 16) == PROGRAMS
        found = report(agent)
        assert found["pid"] != agent.pid
        assert {one["permitted"] for one in found["threads"]} == {0, PROGRAMS}
    finally:
        agent.stop()


def test_workers_that_are_made_anew_are_confined_too(cluster: Cluster) -> None:
    agent = cluster.started("n1")
    try:
        before, old = report(agent), threads.workers(agent.pid, 0)
        for times, facts in enumerate(FACTS.values(), 1):
            cluster.n1.ip("link", "del", facts.device)
            agent.says("tunnel-restored", times=times)
        assert workers(report(agent)) == workers(before)
        assert not set(old) & set(threads.workers(agent.pid, 0))
    finally:
        agent.stop()


@pytest.mark.parametrize(
    ("confine", "lines"),
    [
        (
            "off",
            [
                "no_new_privs:            NO",
                "filters of system calls: NONE",
                "system calls: not limited\n",
            ],
        ),
        ("log", ["system calls: logged\n", "filters of system calls: 2\n"]),
        ("capabilities", ["no_new_privs:            yes", "system calls: not limited\n"]),
    ],
)
def test_less_than_full_confinement_is_said(
    cluster: Cluster, confine: str, lines: list[str]
) -> None:
    """A filter that only logs is not taken for one that refuses."""
    agent = cluster.started("n1", f"--confine={confine}")
    try:
        code, text = shown(agent)
        assert code == 1
        assert [line for line in lines if line not in text] == []
        assert text.endswith("\nnot tried: the agent's calls are not limited\n")
        code, text = shown(agent, "--json")
        assert (code, json.loads(text)["tried"]) == (1, [])
    finally:
        agent.stop()
