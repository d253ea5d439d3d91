# SPDX-License-Identifier: Apache-2.0
"""The lab with agents in it: they are started, watched, started again and ended.

Excluded: what the lab does without an agent (test_lab), how fwd forwards (its own tests).
"""

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.lab_support import Lab, own_lab, require, wait_for

pytestmark = [pytest.mark.netns, pytest.mark.root]


@pytest.fixture
def lab() -> Iterator[Lab]:
    require(fwd=True)
    yield from own_lab("lf")


@pytest.fixture
def built(lab: Lab) -> Lab:
    """Two nodes that run fwd and a kernel one: what `fwd lab up` builds unless told otherwise."""
    up = lab.run("up")
    assert up.returncode == 0, up.stderr
    return lab


def host_locals_notes() -> set[Path]:
    """In the machine's own files."""
    return set(Path("/var/lib/cni").rglob("10.244.*"))


@pytest.fixture
def notes_before() -> set[Path]:
    """Before a lab is built: the machine may be a node of a cluster itself."""
    return host_locals_notes()


def agents(lab: Lab) -> dict[str, int]:
    state = json.loads((lab.state_dir / "lab.json").read_text())
    return {name: agent["pid"] for name, agent in state["agents"].items()}


def test_every_pod_reaches_every_other_through_fwd(built: Lab) -> None:
    done = built.run("test", "--json", limit=120)
    document = json.loads(done.stdout)
    assert [pair for pair in document["pairs"] if pair["problems"]] == []
    assert len(document["pairs"]) == 12
    assert done.returncode == 0


def test_pods_are_connected_by_cni_as_each_nodes_list_says(
    notes_before: set[Path], built: Lab
) -> None:
    for number in (1, 2, 3):
        node = built.state_dir / f"{built.prefix}-n{number}"
        conflist = json.loads((node / "net.d/10-flannel.conflist").read_text())
        bridge, portmap = conflist["plugins"]
        assert (bridge["type"], portmap["type"]) == ("bridge", "portmap")
        assert bridge["ipam"]["ranges"] == [[{"subnet": f"10.244.{number}.0/24"}]]
        assert (bridge["mtu"], bridge["ipMasq"]) == (1450, False)
        given = (node / f"var-lib/cni/networks/cbr0/10.244.{number}.2").read_text()
        assert given.split() == [f"n{number}-p1", "eth0"], "host-local's note of whose it is"
    assert host_locals_notes() == notes_before


def test_status_has_what_each_agent_says(built: Lab) -> None:
    done = built.run("status", "--json")
    nodes = json.loads(done.stdout)["nodes"]
    assert done.returncode == 0
    assert [node["agent"]["said"]["node"] for node in nodes[:2]] == ["n1", "n2"]
    assert nodes[2]["agent"]["alive"], "the kernel node's, which has nothing to say"
    assert nodes[2]["agent"]["said"] is None


def test_an_agent_that_was_killed_is_seen_and_started_again(built: Lab) -> None:
    before = agents(built)
    os.kill(before["n1"], signal.SIGKILL)
    wait_for(lambda: built.run("status").returncode == 1)
    assert "ended" in built.run("status").stdout
    assert built.run("up").returncode == 0
    assert built.run("status").returncode == 0
    after = agents(built)
    assert after["n1"] != before["n1"]
    assert after["n2"] == before["n2"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_down_after_a_crash_leaves_no_process(built: Lab, number: signal.Signals) -> None:
    os.kill(agents(built)["n1"], number)
    (built.state_dir / "lab.json").unlink()
    down = built.run("down")
    assert (down.returncode, down.stderr) == (0, "")
    assert built.leftovers() == []


def test_an_agent_that_cannot_start_shows_why_and_nothing_is_left(lab: Lab) -> None:
    up = lab.run("up", "--run-arg=--public-ip=203.0.113.1", "--run-arg=--nosuchflag")
    assert up.returncode == 1
    *log, last = up.stderr.splitlines()
    assert last.startswith("fwd lab: fwd on n1 ended: ")
    assert "nosuchflag" in last
    assert log
    assert all(line.startswith("n1| ") for line in log)
    assert lab.leftovers() == []


def test_where_the_kernel_has_no_vxlan_it_says_so_and_needs_none(lab: Lab, tmp_path: Path) -> None:
    # An ip(8) as on such a kernel.
    real = shutil.which("ip")
    (tmp_path / "ip").write_text(
        f'#!/bin/sh\ncase " $* " in *\' -batch \'*) ;; *) exec {real} "$@" ;; esac\n'
        "lines=$(cat)\ncase $lines in *' type vxlan '*)\n"
        "echo 'Error: Unknown device type.' >&2; echo 'Command failed -:1' >&2; exit 2 ;; esac\n"
        f'echo "$lines" | exec {real} "$@"\n'
    )
    (tmp_path / "ip").chmod(0o755)
    env = dict(os.environ) | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    up = lab.run("up", env=env)
    wanted = "fwd lab: this kernel has no vxlan device: give --kernel-nodes 0\n"
    assert (up.returncode, up.stderr) == (1, wanted)
    assert lab.leftovers() == []
    up = lab.run(
        "up", "--nodes", "1", "--kernel-nodes", "0", "--run-arg=--log-format=json", env=env
    )
    assert up.returncode == 0, up.stderr
    joined = lab.run("join", "--kernel", env=env)
    assert joined.stderr == "fwd lab: this kernel has no vxlan device: join without --kernel\n"
    assert lab.run("status").returncode == 0
