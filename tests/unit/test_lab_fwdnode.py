# SPDX-License-Identifier: Apache-2.0
"""The agent as the lab starts it: its files and its command line."""

import json
import re
from pathlib import Path

import msgspec
import pytest

from fwd.lab import fwdnode
from fwd.lab.state import StateDir
from fwd.lab.topology import NodeKind, NodeSpec, Source, Spec, Topology, Wiring, node_specs, plan

BARE = NodeKind.BARE


@pytest.fixture
def lab() -> Topology:
    nodes = node_specs(fwd=1, kernel=1)
    return plan(Spec(prefix="t", nodes=nodes, run_args=("--workers=1",), source=Source.STATIC))


def test_leases_are_those_of_all_nodes_in_flannels_words(lab: Topology) -> None:
    assert list(fwdnode.leases(lab))[1] == {
        "node": "n2",
        "subnet": "10.244.2.0/24",
        "public-ip": "192.168.50.2",
        "backend-data": {"VNI": 1, "VtepMAC": "02:00:00:00:00:02"},
    }
    assert [lease["node"] for lease in fwdnode.leases(lab)] == ["n1", "n2"]


def test_a_node_without_a_tunnel_has_no_lease(lab: Topology) -> None:
    bare = plan(msgspec.structs.replace(lab.spec, nodes=(*lab.spec.nodes, NodeSpec(3, BARE))))
    assert list(fwdnode.leases(bare)) == list(fwdnode.leases(lab))


def test_the_configuration_is_flannels_net_conf(lab: Topology, tmp_path: Path) -> None:
    state_dir = StateDir(tmp_path)
    fwdnode.write_config(lab, state_dir)
    assert json.loads(state_dir.net_conf.read_bytes()) == {
        "Network": "10.244.0.0/16",
        "EnableNFTables": True,
        "Backend": {"Type": "vxlan", "VNI": 1, "Port": 8472},
    }
    assert len(json.loads(state_dir.leases.read_bytes())["leases"]) == 2
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["leases.json", "net-conf.json"]


def test_the_command_is_fwd_with_files_of_its_own(lab: Topology) -> None:
    command = fwdnode.command(lab, lab.nodes[0], state_dir=StateDir(Path("/s")))
    assert command[:2] == ["fwd", "run"]
    options = dict(zip(command[2:-1:2], command[3:-1:2], strict=True))
    assert options == {
        "--static-leases": "/s/leases.json",
        "--node-name": "n1",
        "--iface": "eth0",
        "--net-config-path": "/s/net-conf.json",
        "--subnet-file": "/s/t-n1/subnet.env",
        "--run-dir": "/s/t-n1",
        "--cni-conf-dir": "/s/t-n1/net.d",
    }
    assert command[-1] == "--workers=1"


def test_from_the_api_server_it_has_a_kubeconfig_and_no_leases(
    lab: Topology, tmp_path: Path
) -> None:
    kube = plan(msgspec.structs.replace(lab.spec, source=Source.KUBE))
    command = fwdnode.command(kube, kube.nodes[0], state_dir=StateDir(Path("/s")))
    assert command[2:5] == ["--kube-subnet-mgr", "--kubeconfig-file", "/s/api/kubeconfig"]
    assert "--static-leases" not in command
    fwdnode.write_config(kube, StateDir(tmp_path))
    assert [entry.name for entry in tmp_path.iterdir()] == ["net-conf.json"]


def test_with_cni_it_has_flannels_cni_conf_and_masquerades(lab: Topology, tmp_path: Path) -> None:
    cni = plan(msgspec.structs.replace(lab.spec, wiring=Wiring.CNI))
    command = fwdnode.command(cni, cni.nodes[0], state_dir=StateDir(tmp_path))
    assert command[command.index("--cni-conf") + 1] == f"{tmp_path}/cni-conf.json"
    assert "--ip-masq" in command
    fwdnode.write_config(cni, StateDir(tmp_path))
    written = json.loads((tmp_path / "cni-conf.json").read_bytes())
    assert [plugin["type"] for plugin in written["plugins"]] == ["flannel", "portmap"]


@pytest.mark.parametrize(
    "line",
    [
        "forwarding node=n1 subnet=10.244.1.0/24 device=flannel.1",
        'level=info node="n1" event=forwarding',
        '{"level": "info", "event": "forwarding", "node": "n1", "subnet": "10.244.1.0/24"}',
    ],
)
def test_an_agent_is_ready_when_its_log_says_so(lab: Topology, line: str) -> None:
    program = fwdnode.program(lab, lab.nodes[0], state_dir=StateDir(Path("/s")))
    assert re.search(program.ready, line)
    assert not re.search(program.ready, line.replace("n1", "n11"))
    assert not re.search(program.ready, line.replace("forwarding", "starting"))
