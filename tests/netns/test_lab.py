# SPDX-License-Identifier: Apache-2.0
"""The lab with real namespaces: what it builds, and that it leaves nothing however it ends.

Excluded: how well fwd forwards (its own tests use the lab or their own devices), nodes that learn
of each other from the API server (test_lab_members).
"""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fwd.lab import netns
from fwd.lab.errors import LabError
from tests.netns.lab_support import Lab, own_lab, require, wait_for

pytestmark = [pytest.mark.netns, pytest.mark.root]

KERNEL = ("--source", "static", "--nodes", "0", "--kernel-nodes")


@pytest.fixture
def lab() -> Iterator[Lab]:
    require(fwd=False)
    yield from own_lab("lk")


def addresses() -> set[tuple[str, str]]:
    """Those of the machine's own namespace, each with its device."""
    done = subprocess.run(
        ["ip", "-json", "addr"], capture_output=True, text=True, timeout=10, check=True
    )
    links = json.loads(done.stdout)
    return {(link["ifname"], one["local"]) for link in links for one in link["addr_info"]}


@pytest.fixture(scope="module")
def addresses_before() -> set[tuple[str, str]]:
    """While there is no lab: the machine may be a node of a cluster itself."""
    return addresses()


@pytest.fixture(scope="module")
def running(addresses_before: set[tuple[str, str]]) -> Iterator[Lab]:  # noqa: ARG001
    """Two kernel nodes that stay as they are: for tests that only look."""
    require(fwd=False)
    for lab in own_lab("lr"):
        up = lab.run("up", *KERNEL, "2")
        assert up.returncode == 0, up.stderr
        yield lab


def test_a_kernel_node_is_programmed_as_flannel_does(running: Lab) -> None:
    def shown(*words: str) -> str:
        done = running.run("exec", "n1", *words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    link = shown("ip", "-d", "link", "show", "flannel.1")
    for word in (
        "mtu 1450",
        "link/ether 02:00:00:00:00:01",
        "vxlan id 1 local 192.168.50.1 dev eth0",
        "dstport 8472 nolearning",
        "udpcsum noudp6zerocsumtx noudp6zerocsumrx",
    ):
        assert word in link
    assert "inet 10.244.1.0/32 scope global flannel.1" in shown("ip", "addr", "show", "flannel.1")
    assert "10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink" in shown("ip", "route")
    neighbour = shown("ip", "neigh", "show", "dev", "flannel.1")
    assert "10.244.2.0 lladdr 02:00:00:00:00:02 PERMANENT" in neighbour
    fdb = shown("bridge", "fdb", "show", "dev", "flannel.1")
    assert "02:00:00:00:00:02 dst 192.168.50.2 self permanent" in fdb
    assert shown("cat", "/proc/sys/net/ipv6/conf/flannel.1/accept_ra").strip() == "0"
    assert shown("cat", "/proc/sys/net/ipv4/ip_forward").strip() == "1"


def test_a_link_that_stays_down_is_named(lab: Lab) -> None:
    assert lab.run("up", *KERNEL, "1").returncode == 0
    netns.await_links(lab.namespaces(), limit=5)
    assert lab.run("exec", "switch", "ip", "link", "set", "port1", "down").returncode == 0
    with pytest.raises(LabError, match="does not come up"):
        netns.await_links(lab.namespaces(), limit=0.05)


def test_nothing_of_it_is_in_the_machines_own_namespace(
    addresses_before: set[tuple[str, str]], running: Lab
) -> None:
    assert running.namespaces()
    new = addresses() - addresses_before
    assert [one for one in new if one[1].startswith(("192.168.50.", "10.244."))] == []


def test_the_matrix_is_measured_and_all_of_it_is_fine(running: Lab) -> None:
    done = running.run("test", "--json", limit=90)
    assert done.returncode == 0, done.stdout + done.stderr
    document = json.loads(done.stdout)
    pairs = {(p["pair"]["source"]["name"], p["pair"]["target"]["name"]) for p in document["pairs"]}
    assert pairs == {("n1-p1", "n2-p1"), ("n2-p1", "n1-p1"), ("n1", "n2-p1"), ("n2", "n1-p1")}
    for pair in document["pairs"]:
        assert pair["problems"] == []
        assert pair["loss_percent"] == 0
        assert pair["ping"]["rtt_ms"] > 0
        assert min(pair[name]["gbit"] for name in ("tcp", "tcp_back", "udp")) > 0


def test_exec_ends_as_its_command_does(running: Lab) -> None:
    assert running.run("exec", "n1-p1", "sh", "-c", "exit 7").returncode == 7
    assert running.run("exec", "n1", "--", "nosuchcommand").returncode == 127
    missing = running.run("exec", "n9", "true")
    assert missing.returncode == 1
    assert "there are n1, n1-p1, n2, n2-p1, switch" in missing.stderr


def test_status_tells_what_is_up(running: Lab) -> None:
    done = running.run("status", "--json")
    assert done.returncode == 0
    document = json.loads(done.stdout)
    assert document["well"] is True
    assert [node["kind"] for node in document["nodes"]] == ["kernel", "kernel"]
    links = {link["name"]: link["up"] for link in document["nodes"][0]["links"]}
    assert links == {"eth0": True, "cni0": True, "flannel.1": True}


def test_two_labs_with_the_same_addresses_do_not_meet(running: Lab, lab: Lab) -> None:
    assert lab.run("up", *KERNEL, "1").returncode == 0
    assert lab.run("exec", "n1", "ping", "-c1", "-W1", "192.168.50.2").returncode == 1
    assert lab.run("down").returncode == 0
    assert running.run("status").returncode == 0


def test_up_twice_changes_nothing_and_another_shape_is_refused(running: Lab) -> None:
    before = [netns.path(name).stat().st_ino for name in running.namespaces()]
    again = running.run("up", *KERNEL, "2")
    assert again.returncode == 0
    assert "was already up" in again.stdout
    other = running.run("up", *KERNEL, "3")
    assert other.returncode == 1
    assert other.stderr == "fwd lab: this lab is up with other nodes: run `fwd lab down` first\n"
    after = [netns.path(name).stat().st_ino for name in running.namespaces()]
    assert after == before


def test_a_pair_that_loses_packets_fails_the_test(lab: Lab) -> None:
    assert lab.run("up", *KERNEL, "2").returncode == 0
    assert lab.run("exec", "n2", "ip", "link", "set", "flannel.1", "down").returncode == 0
    assert lab.run("status").returncode == 1
    done = lab.run("test", limit=100)
    assert done.returncode == 1
    assert "lost" in done.stdout
    assert "4 of 4 pairs fail" in done.stdout


def test_jumbo_frames_fit(lab: Lab) -> None:
    assert lab.run("up", *KERNEL, "2", "--mtu", "9000").returncode == 0
    ping = ("ping", "-c1", "-W2", "-Mdo", "10.244.2.2", "-s")
    assert lab.run("exec", "n1-p1", *ping, str(8950 - 28)).returncode == 0
    assert lab.run("exec", "n1-p1", *ping, str(8951 - 28)).returncode != 0


def test_down_twice_leaves_nothing(lab: Lab) -> None:
    assert lab.run("up", *KERNEL, "1").returncode == 0
    down = lab.run("down")
    assert (down.returncode, lab.leftovers()) == (0, [])
    again = lab.run("down")
    assert (again.returncode, again.stdout) == (0, "nothing to remove\n")


@pytest.mark.parametrize("damage", ["missing", "damaged", "directory gone"])
def test_down_needs_no_state_file(lab: Lab, damage: str) -> None:
    assert lab.run("up", *KERNEL, "1").returncode == 0
    with subprocess.Popen(lab.argv("exec", "n1-p1", "sleep", "600")) as inside:
        wait_for(lab.processes)
        file = lab.state_dir / "lab.json"
        if damage == "damaged":
            file.write_text('{"spec": {"prefix')
        else:
            file.unlink()
        if damage == "directory gone":
            lab.state_dir.rename(lab.state_dir.with_suffix(".gone"))
        try:
            down = lab.run("down")
        finally:
            inside.kill()
    if damage == "directory gone":
        gone = lab.state_dir.with_suffix(".gone")
        shutil.rmtree(gone)
    assert down.returncode == 0, down.stderr
    assert inside.returncode == -signal.SIGTERM
    assert lab.leftovers() == []


def test_up_mends_a_lab_that_lost_a_part(lab: Lab) -> None:
    assert lab.run("up", *KERNEL, "1").returncode == 0
    subprocess.run(["ip", "netns", "del", f"{lab.prefix}-n1-p1"], timeout=10, check=True)
    assert lab.run("status").returncode == 1
    assert lab.run("up", *KERNEL, "1").returncode == 0
    assert lab.run("status").returncode == 0


def test_up_after_a_killed_up_builds_anew(lab: Lab) -> None:
    with lab.start("up", *KERNEL, "40", "--pods", "3") as up:
        wait_for(lambda: len(lab.namespaces()) > 20)
        up.kill()
    assert lab.namespaces()
    assert lab.run("up", *KERNEL, "1").returncode == 0
    assert len(lab.namespaces()) == 3
    assert lab.run("status").returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_up_removes_what_it_built(lab: Lab, number: signal.Signals) -> None:
    with lab.start("up", *KERNEL, "40", "--pods", "3") as up:
        wait_for(lambda: len(lab.namespaces()) > 20)
        os.killpg(up.pid, number)  # as a terminal does: its children get it too
        _, said = up.communicate(timeout=60)
    assert up.returncode == 128 + number
    assert said == "fwd lab: interrupted\n"
    assert lab.leftovers() == []


def test_a_failed_up_removes_what_it_built_and_says_one_line(lab: Lab, tmp_path: Path) -> None:
    # A bridge(8) that refuses: the last tool that `up` uses, so nearly all is built by then.
    (tmp_path / "bridge").write_text("#!/bin/sh\necho 'no such thing' >&2; exit 1\n")
    (tmp_path / "bridge").chmod(0o755)
    env = dict(os.environ) | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    up = lab.run("up", *KERNEL, "2", env=env)
    assert up.returncode == 1
    assert up.stderr.count("\n") == 1
    assert f"{lab.prefix}-n1: bridge fdb replace" in up.stderr
    assert "no such thing" in up.stderr
    assert lab.leftovers() == []


def test_a_demo_is_up_test_and_down(lab: Lab) -> None:
    done = lab.run("demo", *KERNEL, "2", limit=100)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all 4 pairs are fine" in done.stdout
    assert lab.leftovers() == []


def test_a_demo_that_is_interrupted_is_down(lab: Lab) -> None:
    with lab.start("demo", *KERNEL, "2") as demo:
        wait_for(lambda: '"up"' in lab.state())
        wait_for(lab.processes)  # a ping or an iperf3: the matrix is being measured
        os.killpg(demo.pid, signal.SIGINT)
        demo.communicate(timeout=60)
    assert demo.returncode == 128 + signal.SIGINT
    assert lab.leftovers() == []


def test_a_demo_leaves_a_lab_that_is_up_alone(lab: Lab) -> None:
    assert lab.run("up", *KERNEL, "1").returncode == 0
    demo = lab.run("demo", *KERNEL, "1")
    assert demo.returncode == 1
    assert "a lab is up here" in demo.stderr
    assert lab.run("status").returncode == 0
