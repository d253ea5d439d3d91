# SPDX-License-Identifier: Apache-2.0
"""What a running agent shows: peers' traffic, drops, metrics, round trips.

Two agents, for all tests of this file together: each makes traffic of its own and looks at that.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from fwd.ops.report import drop_reasons
from tests.netns.agent_support import EACH_FAMILY, FACTS, entry, wait_for
from tests.netns.frames import HEADER
from tests.netns.observed_support import FOREIGN, Watched
from tests.netns.sockets import af_of

pytestmark = [pytest.mark.netns, pytest.mark.root]

PROTOCOL = {4: "icmp", 6: "icmp6"}


def scraped(watched: Watched) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """All samples, by name and labels."""
    code, text = watched.get("/metrics")
    assert code == 200
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@EACH_FAMILY
def test_a_peers_traffic_is_counted_across_commits(watched: Watched, family: int) -> None:
    ping = ("ping", "-c", "5", "-i", "0.02", FACTS[family].tunnel_ip("n2"))
    before = watched.peer(family)
    assert watched.n1.run(*ping).returncode == 0
    entries = dict(watched.cluster.entries)
    watched.cluster.entries = {**entries, "n5": entry("n5", family)}
    watched.cluster.write()
    wait_for("the new lease", lambda: len(watched.agent.status()["leases"]) == 3)
    assert watched.n1.run(*ping).returncode == 0
    now = watched.peer(family)
    for way in ("out", "in"):
        assert now[f"{way}-packets"] - before[f"{way}-packets"] == 10
        assert now[f"{way}-bytes"] - before[f"{way}-bytes"] == 10 * (64 + HEADER[family])
    assert now["heard-seconds"] < 5
    assert now["age-seconds"] >= before["age-seconds"]
    (other,) = (one for one in watched.agent.status()["leases"] if one["node"] == "n5")
    assert other["heard-seconds"] is None
    watched.cluster.entries = entries
    watched.cluster.write()
    wait_for("the lease to go", lambda: len(watched.agent.status()["leases"]) == 2)


@EACH_FAMILY
def test_drops_are_shown_with_what_was_in_them(watched: Watched, family: int) -> None:
    facts, foreign = FACTS[family], FOREIGN[family]
    here, there = facts.underlay("n2"), facts.underlay("n1")
    watched.n1.run("ping", "-c", "1", "-W", "0.2", foreign)
    watched.n2.run(
        sys.executable,
        "-c",
        f"import socket; s = socket.socket({af_of(here):d}, socket.SOCK_DGRAM);"
        f"s.bind(('{here}', 50000));"
        f"s.sendto(bytes([8, 0, 0, 0, 0, 0, 7, 0]) + bytes(60), ('{there}', 8472))",
    )
    done = watched.fwd("drops", "--json")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    found = {line["reason"]: line for line in lines}
    assert found["out_no_route"]["dst"] == foreign
    assert found["out_no_route"]["protocol"] == PROTOCOL[family]
    assert found["out_no_route"]["direction"] == "out"
    assert found["out_no_route"]["head"].startswith({4: "45", 6: "6"}[family])
    assert found["in_other_vni"]["node"] == "n2"
    assert found["in_other_vni"]["outer"] == here
    people = watched.fwd("drops", "--reason", "out_no_route").stdout
    assert f"> {foreign} {PROTOCOL[family]}" in people
    assert "in_other_vni" not in people
    of_none = watched.fwd("drops", "--reason", "in_truncated")
    assert (of_none.returncode, of_none.stdout) == (0, "")
    assert "fwd status counts them all" in of_none.stderr
    wrong = watched.fwd("drops", "--reason", "out_no_rute")
    assert wrong.returncode == 2
    assert "there is no reason 'out_no_rute'" in wrong.stderr


def test_who_follows_sees_each_drop_once(watched: Watched, tmp_path: Path) -> None:
    command = ["ip", "netns", "exec", watched.n1.name, sys.executable, "-m", "fwd", "drops"]
    command += ["--json", "--follow", "--reason", "out_no_route"]
    command += ["--run-dir", str(watched.agent.run_dir)]
    seen = tmp_path / "seen"
    with seen.open("wb") as out, subprocess.Popen(command, stdout=out) as following:
        try:
            for pattern in ("c0ffee", "decade"):
                watched.n1.run("ping", "-c", "1", "-W", "0.2", "-p", pattern, FOREIGN[4])
                wait_for(pattern, lambda p=pattern: p in seen.read_text())  # type: ignore[misc]
        finally:
            following.terminate()
            following.wait(10)
    heads = [json.loads(line)["head"] for line in seen.read_text().splitlines()]
    assert sum("c0ffee" in head for head in heads) == 1
    assert "decade" in heads[-1]


def test_ping_measures_the_overlay(watched: Watched) -> None:
    done = watched.fwd("ping", "-c", "3", "-i", "0.02", "n2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("n2 at 10.244.2.0\n")
    assert "3 sent, 3 received, 0% lost, round trip" in done.stdout
    by_address = watched.fwd("ping", "-c", "1", "192.168.50.2")
    assert by_address.stdout.startswith("n2 at 10.244.2.0\n")
    lost = watched.fwd("ping", "-c", "1", "-W", "0.2", "10.244.2.9")
    assert lost.returncode == 1
    assert "1 sent, 0 received, 100% lost" in lost.stdout
    nobody = watched.fwd("ping", "n9")
    assert nobody.returncode == 1
    assert "there is no node 'n9'" in nobody.stderr
    itself = watched.fwd("ping", "n1")
    assert itself.returncode == 2


def test_ping_from_another_network_asks_no_router(watched: Watched) -> None:
    command = [sys.executable, "-m", "fwd", "ping", "--run-dir", str(watched.agent.run_dir), "n2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"(pid {watched.agent.pid}) is in another network namespace" in done.stderr


def test_metrics_can_be_parsed_and_agree_with_the_status(watched: Watched) -> None:
    assert watched.n1.pings("10.244.2.0")
    samples = scraped(watched)
    peer = (("family", "4"), ("node", "n2"))
    lease = watched.peer(4)
    assert 0 < samples["fwd_peer_transmit_packets_total", peer] <= lease["out-packets"]
    assert samples["fwd_leases", (("family", "4"),)] == 1
    assert samples["fwd_ready", ()] == 1
    counters = watched.agent.tunnel()["counters"]
    assert samples["fwd_outbound_packets_total", (("family", "4"),)] <= counters["out_packets"]
    assert samples["process_resident_memory_bytes", ()] > 1 << 20
    drops = [dict(labels) for name, labels in samples if name == "fwd_dropped_packets_total"]
    assert {labels["reason"] for labels in drops} == {one.name for one in drop_reasons()}


@EACH_FAMILY
def test_series_by_peer_are_the_statuses_also_when_the_device_was_lost(
    watched: Watched, family: int
) -> None:
    facts = FACTS[family]

    def agree() -> float:
        ping = ("ping", "-c", "3", "-i", "0.02", facts.tunnel_ip("n2"))
        assert watched.n1.run(*ping).returncode == 0
        samples, lease = scraped(watched), watched.peer(family)
        for way, direction in (("out", "transmit"), ("in", "receive")):
            for unit in ("packets", "bytes"):
                name = f"fwd_peer_{direction}_{unit}_total"
                told = samples[name, (("family", str(family)), ("node", "n2"))]
                assert told == lease[f"{way}-{unit}"]
        return float(lease["in-packets"])

    before = agree()
    lost = len(watched.agent.lines("tunnel-restored"))
    watched.n1.ip("link", "del", facts.device)
    watched.agent.says("tunnel-restored", times=lost + 1)
    assert agree() >= before + 3


def test_the_live_view_shows_peers(watched: Watched) -> None:
    command = ["ip", "netns", "exec", watched.n1.name, sys.executable, "-m", "fwd", "status"]
    command += ["--watch", "--run-dir", str(watched.agent.run_dir)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watching:
        time.sleep(2.5)
        watching.send_signal(2)
        shown, _ = watching.communicate(timeout=10)
    assert watching.returncode == 0
    assert "10.244.2.0/24" in shown
    assert "Mbit/s" in shown
