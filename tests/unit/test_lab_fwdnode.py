# SPDX-License-Identifier: Apache-2.0
"""The agent as the lab starts it: its files, its command line, the wait for its log."""

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fwd.lab import agentproc, fwdnode
from fwd.lab.agentproc import Process
from fwd.lab.errors import LabError
from fwd.lab.fwdnode import Agent
from fwd.lab.state import StateDir
from fwd.lab.topology import Spec, Topology, node_specs, plan


@pytest.fixture
def lab() -> Topology:
    spec = Spec(prefix="t", nodes=node_specs(fwd=1, kernel=1), run_args=("--workers=1",))
    return plan(spec)


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    """A process that says nothing and stays."""
    started = agentproc.spawn(["/bin/sleep", "60"], env=dict(os.environ), log=tmp_path / "none")
    yield started
    agentproc.stop([started], grace=0)


def test_leases_are_those_of_all_nodes_in_flannels_words(lab: Topology) -> None:
    assert list(fwdnode.leases(lab))[1] == {
        "node": "n2",
        "subnet": "10.244.2.0/24",
        "public-ip": "192.168.50.2",
        "backend-data": {"VNI": 1, "VtepMAC": "02:00:00:00:00:02"},
    }
    assert [lease["node"] for lease in fwdnode.leases(lab)] == ["n1", "n2"]


def test_the_configuration_is_flannels_net_conf(lab: Topology, tmp_path: Path) -> None:
    state_dir = StateDir(tmp_path)
    fwdnode.write_config(lab, state_dir)
    assert json.loads(state_dir.net_conf.read_bytes()) == {
        "Network": "10.244.0.0/16",
        "Backend": {"Type": "vxlan", "VNI": 1, "Port": 8472},
    }
    assert len(json.loads(state_dir.leases.read_bytes())["leases"]) == 2
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["leases.json", "net-conf.json"]


def test_the_command_is_this_pythons_fwd_with_files_of_its_own(lab: Topology) -> None:
    command = fwdnode.command(lab, lab.nodes[0], state_dir=StateDir(Path("/s")))
    assert command[:4] == [sys.executable, "-m", "fwd", "run"]
    options = dict(zip(command[4:-1:2], command[5:-1:2], strict=True))
    assert options == {
        "--static-leases": "/s/leases.json",
        "--node-name": "n1",
        "--iface": "eth0",
        "--net-config-path": "/s/net-conf.json",
        "--subnet-file": "/s/t-n1/subnet.env",
        "--run-dir": "/s/t-n1",
    }
    assert command[-1] == "--workers=1"


def test_settings_of_this_machines_agent_are_not_the_labs(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FLANNELD_PUBLIC_IP", "NODE_NAME", "NOTIFY_SOCKET", "KEPT"):
        monkeypatch.setenv(name, "x")
    environment = fwdnode._environment()
    assert environment["KEPT"] == "x"
    assert not {"FLANNELD_PUBLIC_IP", "NODE_NAME", "NOTIFY_SOCKET"} & environment.keys()


@pytest.mark.parametrize(
    "line",
    [
        "forwarding node=n1 subnet=10.244.1.0/24 device=flannel.1",
        'level=info node="n1" event=forwarding',
    ],
)
def test_an_agent_is_ready_when_its_log_says_so(
    lab: Topology, process: Process, tmp_path: Path, line: str
) -> None:
    log = tmp_path / "agent.log"
    log.write_text(f"something else\n{line}\n")
    Agent(lab.nodes[0], process, log=log, skip=0).await_forwarding(time.monotonic() + 10)


def test_what_an_earlier_run_wrote_does_not_count(
    lab: Topology, process: Process, tmp_path: Path
) -> None:
    log = tmp_path / "agent.log"
    log.write_text("forwarding node=n1\n")
    agent = Agent(lab.nodes[0], process, log=log, skip=log.stat().st_size)
    with pytest.raises(LabError, match="fwd on n1 does not say that it forwards"):
        agent.await_forwarding(time.monotonic())


def test_an_agent_that_ends_is_reported_with_its_last_words(lab: Topology, tmp_path: Path) -> None:
    log = tmp_path / "agent.log"
    script = "for i in $(seq 30); do echo line $i; done; echo no such interface >&2"
    process = agentproc.spawn(["/bin/sh", "-c", script], env=dict(os.environ), log=log)
    with pytest.raises(LabError, match="fwd on n1 ended: no such interface") as error:
        Agent(lab.nodes[0], process, log=log, skip=0).await_forwarding(time.monotonic() + 10)
    assert error.value.detail[-2:] == ("n1| line 30", "n1| no such interface")
    assert len(error.value.detail) == 12
    agentproc.stop([process])
