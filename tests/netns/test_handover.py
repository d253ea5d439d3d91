# SPDX-License-Identifier: Apache-2.0
"""An agent is replaced by another one while packets flow."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from fwd.core import handovertalk as talk
from fwd.ops.control import GONE
from tests.netns.agent_support import BOTH_FAMILIES, Agent, Cluster, wait_for
from tests.netns.handover_support import Greeting, nothing_is_lost

pytestmark = [pytest.mark.netns, pytest.mark.root, BOTH_FAMILIES]


def total(agent: Agent, counter: str) -> int:
    return sum(tunnel["counters"][counter] for tunnel in agent.status()["tunnels"])


def test_agents_follow_each_other_and_no_packet_is_lost(cluster: Cluster) -> None:
    first, peer = cluster.started("n1"), cluster.started("n2")
    assert cluster.reaches(cluster.n1, "n2")
    with nothing_is_lost(cluster, seconds=6):
        second = cluster.start("n1")
        assert " paused-ms=" in second.says("taken-over")
        assert first.ended() == 0
        first.says("handed-over")
        peer_second = cluster.start("n2")
        peer_second.says("taken-over")
        assert peer.ended() == 0
        third = cluster.start("n1")
        third.says("taken-over")
        assert second.ended() == 0
        third.says("host-ready")
    assert total(third, "out_sent") > total(peer_second, "out_sent")
    assert total(third, "out_sent") >= 6000, "totals go on from agent to agent"
    assert third.stop()[0] == 0
    assert cluster.started("n1").lines("taken-over") == [], "the lock has gone with the agents"


@contextmanager
def started(argv: list[str]) -> Iterator["subprocess.Popen[str]"]:
    with subprocess.Popen(argv, stdout=-1, stderr=-1, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def test_who_looks_on_is_told_that_it_is_over(cluster: Cluster, tmp_path: Path) -> None:
    first = cluster.started("n1")
    fwd = [sys.executable, "-m", "fwd"]
    file = tmp_path / "x.pcapng"
    capture = [*fwd, "capture", "--run-dir", str(first.run_dir), "-w", str(file)]
    follow = [*fwd, "drops", "--follow", "--run-dir", str(first.run_dir)]
    assert not cluster.n1.pings(cluster.facts.subnet("n77").partition("/")[0]), "a drop to show"
    with ExitStack() as stack:
        capturing, following = (stack.enter_context(started(argv)) for argv in (capture, follow))
        first.says("capture-begins")
        assert following.stdout is not None
        assert following.stdout.readline(), "it is connected"
        cluster.start("n1").says("taken-over")
        for name, process in (("capture", capturing), ("drops", following)):
            said = process.communicate(timeout=20)[1]
            assert f"fwd {name}: {GONE}\n" in said
            assert process.returncode == 1


def test_drops_that_were_told_are_not_told_by_the_next_one(cluster: Cluster) -> None:
    first = cluster.started("n1")
    assert not cluster.n1.pings(cluster.facts.subnet("n77").partition("/")[0])
    wait_for("the drop", lambda: "out_no_route" in first.log)
    second = cluster.start("n1")
    second.says("taken-over")
    second.says("host-ready")  # which comes after its first look at drops
    assert "out_no_route" not in second.log
    assert total(second, "out_no_route") >= 1
    remembered = cluster.n1.run(
        sys.executable, "-m", "fwd", "drops", "--run-dir", str(second.run_dir), "--reason",
        "out_no_route",
    )  # fmt: skip
    assert (remembered.returncode, remembered.stdout) == (0, "")
    assert "no such drop is remembered: fwd status counts them all" in remembered.stderr


def test_other_settings_of_the_sockets_mean_a_cold_start(cluster: Cluster) -> None:
    first, _ = cluster.started("n1", "--workers", "2"), cluster.started("n2")
    assert cluster.reaches(cluster.n1, "n2")
    second = cluster.start("n1", "--workers", "1")
    assert "another workers" in second.says("not-taken-over")
    second.says("taken-over")
    assert first.ended() == 0
    assert cluster.reaches(cluster.n1, "n2")


def test_versions_that_do_not_meet_end_in_a_cold_start(cluster: Cluster) -> None:
    agent, _ = cluster.started("n1"), cluster.started("n2")
    later = Greeting(agent, oldest=1, newest=77)
    assert isinstance(later.answer, talk.Welcome)
    later.channel.close()
    later = Greeting(agent, oldest=76, newest=77)
    assert isinstance(later.answer, talk.Refused)
    assert later.answer.cold
    later.channel.close()
    assert cluster.reaches(cluster.n1, "n2"), "it only asked"
    later = Greeting(agent, oldest=76, newest=77)
    assert later.ask(talk.Done()) == talk.Bye()
    later.channel.close()
    assert agent.ended() == 0
    assert cluster.started("n1").lines("taken-over") == []
    assert cluster.reaches(cluster.n1, "n2")
