# SPDX-License-Identifier: Apache-2.0
"""What a running agent shows: peers' traffic, drops, metrics, round trips.

Two agents, for all tests of this file together: each makes traffic of its own and looks at that.
"""

import json
import subprocess
import sys
import time

import pytest
from prometheus_client.parser import text_string_to_metric_families

from fwd.ops.report import drop_reasons
from tests.netns.agent_support import entry, wait_for
from tests.netns.observed_support import FOREIGN, Watched

pytestmark = [pytest.mark.netns, pytest.mark.root]


def test_a_peers_traffic_is_counted_across_commits(watched: Watched) -> None:
    before = watched.peer()
    assert watched.n1.run("ping", "-c", "5", "-i", "0.02", "10.244.2.0").returncode == 0
    entries = dict(watched.cluster.entries)
    watched.cluster.entries = {**entries, "n5": entry("n5")}
    watched.cluster.write()
    wait_for("the new lease", lambda: len(watched.agent.status()["leases"]) == 2)
    assert watched.n1.run("ping", "-c", "5", "-i", "0.02", "10.244.2.0").returncode == 0
    now = watched.peer()
    for way in ("out", "in"):
        assert now[f"{way}-packets"] - before[f"{way}-packets"] == 10
        assert now[f"{way}-bytes"] - before[f"{way}-bytes"] == 10 * 84
    assert now["heard-seconds"] < 5
    assert now["age-seconds"] >= before["age-seconds"]
    (other,) = (one for one in watched.agent.status()["leases"] if one["node"] == "n5")
    assert other["heard-seconds"] is None
    watched.cluster.entries = entries
    watched.cluster.write()
    wait_for("the lease to go", lambda: len(watched.agent.status()["leases"]) == 1)


def test_drops_are_shown_with_what_was_in_them(watched: Watched) -> None:
    watched.n1.run("ping", "-c", "1", "-W", "0.2", FOREIGN)
    watched.n2.run(
        sys.executable,
        "-c",
        "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM);"
        "s.bind(('192.168.50.2', 50000));"
        "s.sendto(bytes([8, 0, 0, 0, 0, 0, 7, 0]) + bytes(60), ('192.168.50.1', 8472))",
    )
    done = watched.fwd("drops", "--json")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    found = {line["reason"]: line for line in lines}
    assert found["out_no_route"]["dst"] == FOREIGN
    assert found["out_no_route"]["protocol"] == "icmp"
    assert found["out_no_route"]["direction"] == "out"
    assert found["out_no_route"]["head"].startswith("45")
    assert found["in_other_vni"]["node"] == "n2"
    assert found["in_other_vni"]["outer"] == "192.168.50.2"
    people = watched.fwd("drops", "--reason", "out_no_route").stdout
    assert f"> {FOREIGN} icmp" in people
    assert "in_other_vni" not in people


def test_who_follows_sees_each_drop_once(watched: Watched) -> None:
    command = ["ip", "netns", "exec", watched.n1.name, sys.executable, "-m", "fwd", "drops"]
    command += ["--json", "--follow", "--run-dir", str(watched.agent.run_dir)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as following:
        assert following.stdout is not None
        try:
            watched.n1.run("ping", "-c", "1", "-W", "0.2", "-p", "c0ffee", FOREIGN)
            for line in following.stdout:
                if "c0ffee" in line:
                    break
            watched.n1.run("ping", "-c", "1", "-W", "0.2", "-p", "decade", FOREIGN)
            rest = next(iter(following.stdout))
        finally:
            following.terminate()
            following.wait(10)
    assert "decade" in rest
    assert "c0ffee" not in rest


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


def test_metrics_can_be_parsed_and_agree_with_the_status(watched: Watched) -> None:
    assert watched.n1.pings("10.244.2.0")
    code, text = watched.get("/metrics")
    assert code == 200
    families = {family.name: family for family in text_string_to_metric_families(text)}
    samples = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families.values()
        for sample in family.samples
    }
    peer = (("family", "4"), ("node", "n2"))
    lease = watched.peer()
    assert 0 < samples["fwd_peer_transmit_packets_total", peer] <= lease["out-packets"]
    assert samples["fwd_leases", (("family", "4"),)] == 1
    assert samples["fwd_ready", ()] == 1
    counters = watched.agent.tunnel()["counters"]
    assert samples["fwd_outbound_packets_total", (("family", "4"),)] <= counters["out_packets"]
    assert samples["process_resident_memory_bytes", ()] > 1 << 20
    drops = families["fwd_dropped_packets"].samples
    assert {sample.labels["reason"] for sample in drops} == {one.name for one in drop_reasons()}


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
