# SPDX-License-Identifier: Apache-2.0
"""The doctor beside an agent that waits for its first leases, before starts that would end at once,
on a link-local underlay, and in another place than the agent."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fwd.ops.lockholder import holder_of
from tests.netns.agent_support import FACTS, Agent, Cluster, key, wait_for
from tests.netns.doctor_support import Report
from tests.netns.namespace import ROOT
from tests.netns.sockets import call_in
from tests.unable import require_tunnel_gso

pytestmark = pytest.mark.netns

NOWHERE = "http://127.0.0.1:1"
"""Nothing listens there."""
WAITING = {
    "kube": ("--kube-subnet-mgr", "--kube-api-url", NOWHERE),
    "etcd": ("--etcd-endpoints", NOWHERE),
}


class _Waits(Cluster):
    """Its agents have their leases from a server that is away."""

    source = "kube"

    def source_flags(self, name: str) -> list[str]:  # noqa: ARG002 - all wait for the same
        return [*WAITING[self.source], "--net-config-path", str(self.net_conf)]


def built(cluster: Cluster) -> Cluster:
    """With nodes that forward, as a kubelet has them."""
    for node in (cluster.n1, cluster.n2):
        for path in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
            assert node.run("sh", "-c", f"echo 1 >/proc/sys/net/{path}").returncode == 0
    return cluster


def ask(cluster: Cluster, name: str, *words: str, within: str = "") -> Report:
    """`fwd doctor` on a node, with the flags of its agent's place alone unless more are given."""
    command = [sys.executable, "-W", "error", "-m", "fwd", "doctor", "--json"]
    command += ["--run-dir", str(cluster.directory / name), *words]
    if within:
        command = ["ip", "netns", "exec", within, *command]
    environ = {"PATH": os.environ["PATH"]}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT, env=environ
    )
    assert done.stdout, done.stderr
    assert not done.stderr, done.stderr
    return Report(done.returncode, json.loads(done.stdout)["findings"])


def flags(cluster: Cluster, name: str) -> list[str]:
    """Of a start."""
    subnet_file = cluster.directory / name / "subnet.env"
    return [
        *("--node-name", name, "--subnet-file", str(subnet_file)),
        *("--cni-conf-dir", str(cluster.directory)),
        *cluster.source_flags(name),
    ]


def before(cluster: Cluster, *words: str) -> Report:
    """What is said of a start of n1."""
    return ask(cluster, "n1", *flags(cluster, "n1"), *words, within=cluster.n1.name)


@pytest.fixture
def nodes(cluster: Cluster) -> Cluster:
    return built(cluster)


@pytest.fixture(params=WAITING)
def waits(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Cluster, Agent]]:
    made = _Waits(tmp_path)
    made.source = request.param
    try:
        made.build()
        built(made)
        agent = made.start("n1", "--iface", "u1", "--cni-conf-dir", str(tmp_path))
        wait_for("the lock", lambda: holder_of(agent.run_dir) == agent.pid)
        agent.says("settings")
        yield made, agent
    finally:
        made.remove()


def test_an_agent_that_waits_for_its_leases(waits: tuple[_Waits, Agent]) -> None:
    cluster, agent = waits
    report = ask(cluster, "n1", within=cluster.n1.name)
    server = {"kube": "API server: cannot get nodes", "etcd": f"etcd: {NOWHERE}"}[cluster.source]
    report.names(server, "see that")
    said = f"agent: runs (pid {agent.pid}) and waits for its first leases"
    assert any(line.startswith(said) for line in report.graded("note")), report.findings
    assert not any("none runs" in line for line in report.graded("note"))


def test_an_agent_that_is_elsewhere(nodes: Cluster) -> None:
    agent = nodes.started("n1")
    report = ask(nodes, "n1", within=nodes.n2.name)
    report.names(
        rf"^agent: runs \(pid {agent.pid}\) in another network namespace than this",
        rf"nsenter --net=/proc/{agent.pid}/ns/net fwd doctor --run-dir {agent.run_dir}, "
        "or in a lab: fwd lab exec NODE -- fwd doctor",
    )
    assert len(report.findings) == 1
    assert ask(nodes, "n1", within=nodes.n1.name).graded("wrong") == []


def test_one_that_waits_elsewhere(waits: tuple[_Waits, Agent]) -> None:
    cluster, agent = waits
    ask(cluster, "n1").names(rf"runs \(pid {agent.pid}\) in another network namespace", "nsenter")


def test_a_device_of_that_name(nodes: Cluster) -> None:
    """As the agent does: a vxlan device gives way, anything else does not."""
    nodes.n1.ip("link", "add", "flannel.1", "type", "bridge")
    before(nodes).names(
        r"TUN device: flannel.1 exists and is a bridge device", "ip link del flannel.1"
    )
    agent = nodes.start("n1")
    assert agent.ended() == 1
    assert "flannel.1 exists and is a bridge device" in agent.log
    nodes.n1.ip("link", "del", "flannel.1")
    nodes.n1.ip("tuntap", "add", "flannel.1", "mode", "tap")
    before(nodes).names("flannel.1 exists and is a TAP device", "ip link del flannel.1")
    nodes.n1.ip("link", "del", "flannel.1")
    assert before(nodes).graded("wrong") == []


def test_a_device_with_the_name_of_the_tap(nodes: Cluster) -> None:
    require_tunnel_gso()
    nodes.n1.ip("link", "add", "fwd.1", "type", "bridge")
    assert before(nodes).graded("wrong") == []
    before(nodes, "--tunnel-gso").names(
        r"TUN device: fwd.1 exists and is a bridge device", "ip link del fwd.1"
    )
    agent = nodes.start("n1", "--tunnel-gso")
    assert agent.ended() == 1
    assert "fwd.1" in agent.log


def test_the_health_port_is_taken(nodes: Cluster) -> None:
    words = ("--healthz-port", "8471")
    with _listening(nodes.n1.name, 8471):
        before(nodes, *words).names(
            r"health port: cannot serve /healthz on 0.0.0.0 port 8471: .*in use", "--healthz-port"
        )
        agent = nodes.start("n1", *words)
        assert agent.ended() == 1
    assert before(nodes, *words).graded("wrong") == []
    agent = nodes.started("n1", *words)
    assert ask(nodes, "n1", within=nodes.n1.name).graded("wrong") == []


def test_a_start_with_what_this_machine_has_not(nodes: Cluster) -> None:
    for words, fault, remedy in (
        (["--healthz-port=70000"], "health port: .* 65535 is the highest", "--healthz-port"),
        (["--worker-cpus=1023"], "workers: .*processor 1023 is not one that", "name some of 0"),
    ):
        before(nodes, *words).names(fault, remedy)
        agent = nodes.start("n1", *words)
        assert agent.ended() == 1


def test_leases_that_a_start_would_end_of(nodes: Cluster) -> None:
    agent = nodes.started("n1", "--iface", "u1", "--cni-conf-dir", str(nodes.directory))
    nodes.entries["n3"] = nodes.lease("n2") | {
        "node": "n3",
        "public-ip": "192.168.50.3",
        "backend-data": {"VNI": 1, "VtepMAC": "02:00:00:00:00:33"},
    }
    nodes.write()
    fault = "subnets 10.244.2.0/24 of node n2 and 10.244.2.0/24 of node n3 overlap"
    agent.says("leases-refused")
    of_running = ask(nodes, "n1", within=nodes.n1.name)
    agent.stop()
    for report in (of_running, before(nodes, "--iface", "u1")):
        report.names(f"leases: .*leases.json: {fault}", "mend the file")
    agent = nodes.start("n1", "--iface", "u1")
    assert agent.ended() == 1
    assert fault in agent.log


@pytest.mark.parametrize("family", [6])
def test_new_devices_may_have_no_ipv6_address(nodes: Cluster) -> None:
    """As on nodes that are hardened.  The device stays, and with it what it began with."""
    switch, sysctl = "/proc/sys/net/ipv6/conf/{}/disable_ipv6", "net.ipv6.conf.{}.disable_ipv6=0"
    assert nodes.n1.run("sh", "-c", f"echo 1 >{switch.format('default')}").returncode == 0
    fault, default = "disable_ipv6: 1 for flannel-v6.1: ", sysctl.format("default")
    before(nodes).names(fault, f"sysctl -w {default}, ")
    agent = nodes.start("n1")
    assert agent.ended() == 1
    assert "flannel-v6.1" in agent.log
    before(nodes).names(fault, f"sysctl -w {default} {sysctl.format('flannel-v6/1')}, ")
    for name in ("default", "flannel-v6.1"):
        assert nodes.n1.run("sh", "-c", f"echo 0 >{switch.format(name)}").returncode == 0
    assert before(nodes).graded("wrong") == []


def test_no_rules_at_all(nodes: Cluster) -> None:
    """And in a namespace of its own, where iptables has no tables yet."""
    report = before(nodes)
    about = [one for one in report.findings if one["looked-at"] == "firewall"]
    assert [(one["grade"], one["found"]) for one in about] == [
        ("ok", "no rule drops the overlay (tables looked at: 0)")
    ]


@contextmanager
def _listening(namespace: str, port: int) -> Iterator[None]:
    def listen() -> socket.socket:
        return socket.create_server(("0.0.0.0", port))

    with call_in(namespace, listen):
        yield


@pytest.mark.parametrize("family", [6])
def test_a_link_local_underlay(nodes: Cluster) -> None:
    facts = FACTS[6]
    for number in (1, 2):
        node, device = getattr(nodes, f"n{number}"), f"u{number}"
        node.ip("address", "del", f"{facts.underlay(f'n{number}')}/64", "dev", device)
        shown = node.show("-6", "address", "show", "dev", device, "scope", "link")
        address = shown[0]["addr_info"][0]["local"]
        assert address.startswith("fe80:")
        nodes.entries[key(f"n{number}", 6)]["public-ip"] = address
    nodes.write()
    iface = {name: ("--iface", f"u{name[1:]}") for name in ("n1", "n2")}
    report = before(nodes, *iface["n1"])
    assert report.graded("wrong") == []
    assert any("bytes pass" in line or "answers ping" in line for line in _path(report))
    n1, n2 = (nodes.started(name, *words) for name, words in iface.items())
    wait_for("packets", lambda: nodes.reaches(nodes.n1, "n2"))
    within = nodes.n1.name
    report = ask(nodes, "n1", "--peers", within=within)
    assert report.graded("wrong") == []
    assert any("packets of 1500 bytes pass to 1 of 1" in line for line in _path(report))
    n2.stop()
    address = nodes.entries[key("n2", 6)]["public-ip"]
    ask(nodes, "n1", "--peers", within=within).names(
        f"peer n2: .*nothing receives at {address} UDP port 8472", "start the agent of n2"
    )
    n1.stop()


def _path(report: Report) -> list[str]:
    found = report.graded("ok") + report.graded("note")
    return [line for line in found if line.startswith("MTU of the path")]


@pytest.mark.parametrize("family", [4, 6])
def test_a_public_ip_that_is_nowhere_here(nodes: Cluster) -> None:
    """As in a file of leases that was copied from README.md.  With NAT it is as it should be."""
    own = nodes.facts.underlay("n1")
    elsewhere = nodes.lease("n1")["public-ip"] = {4: "198.51.100.1", 6: "2001:db8::1"}[
        nodes.facts.family
    ]
    nodes.write()
    said = f"underlay: peers send to {elsewhere} and expect packets from it; this node sends from "
    report = before(nodes, "--iface", "u1")
    assert report.graded("wrong") == []
    assert any(line.startswith(f"{said}{own}") for line in report.graded("note"))
    nodes.lease("n1")["public-ip"] = own
    nodes.write()
    assert not any(
        one.startswith("underlay") for one in before(nodes, "--iface", "u1").graded("note")
    )
