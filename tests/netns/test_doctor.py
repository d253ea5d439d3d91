# SPDX-License-Identifier: Apache-2.0
"""Nodes that are broken in one way each: the doctor names it, what to do, and nothing else.

One lab for all: n1 is the patient, n2 runs fwd too, n3 has the kernel's vxlan device.
"""

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from fwd.lab.apiserver import commands as api
from fwd.lab.topology import Source
from tests.netns import topo
from tests.netns.doctor_support import Doctor, kept
from tests.netns.lab_support import wait_for
from tests.netns.sockets import udp_in

pytestmark = pytest.mark.netns

INPUT = "chain in {{ type filter hook input priority 0; {} drop; }};"
DROP_8472 = f"table inet blocks {{ {INPUT.format('udp dport 8472')} }}"
DEAF = f"table ip deaf {{ {INPUT.format('iifname eth0 icmp type 8')} }}"
ASTRAY = """
ip link add astray type veth peer name lost
ip link set lost up
ip link set astray up
ip route add 192.168.50.3/32 dev astray
"""
DOCKER = """
iptables -P FORWARD DROP
iptables -N DOCKER
iptables -A FORWARD -o docker0 -j DOCKER
"""
TOOL = """
iptables -N TOOL
iptables -A FORWARD -j TOOL
iptables -A TOOL -s 10.244.0.0/16 -j ACCEPT
iptables -A TOOL -d 10.244.0.0/16 -j ACCEPT
"""


@pytest.fixture(scope="module")
def doctor() -> Iterator[Doctor]:
    """An agent runs."""
    with topo.built(source=Source.KUBE) as net:
        made = Doctor(net)
        (net.directory(1) / "net.d").mkdir(exist_ok=True)
        yield made


@pytest.fixture(scope="module")
def idle(doctor: Doctor) -> Doctor:
    """The agent has ended.  For the tests after those that need it."""
    doctor.net.stop(1)
    return doctor


# With an agent that runs, by what it says and through its tunnel.


def test_a_healthy_node_is_well(doctor: Doctor) -> None:
    report = doctor.of_agent("--peers")
    assert (report.graded("wrong"), report.code) == ([], 0)
    peers = [line for line in report.graded("ok") if line.startswith("peer ")]
    assert len(peers) == 2
    assert all("no loss, 1450 bytes pass" in line for line in peers)


def test_the_path_takes_small_packets_only(doctor: Doctor) -> None:
    net = doctor.net
    net.ip(net.switch, "link set port2 mtu 1400")
    try:
        doctor.of_agent().names(r"to n2 .* up to 1400 bytes pass, of 1500", r'"MTU": 1400 in Back')
        doctor.of_agent("--peers").names(r"to n2 .* up to 1400 bytes pass", r"Pods then get 1350")
        # Where the nodes answer no ping outside the tunnel.
        with (
            doctor.done(2, "nft", DEAF, undo="nft delete table ip deaf"),
            doctor.done(3, "nft", DEAF, undo="nft delete table ip deaf"),
        ):
            doctor.of_agent("--peers").names(
                r"peer n2: 10.244.2.0 answers, but small packets only: up to 135[0-4] bytes of",
                r'"MTU": 140[0-4] in Backend',
            )
    finally:
        net.ip(net.switch, "link set port2 mtu 1500")


def test_strict_reverse_path_filter(doctor: Doctor) -> None:
    with doctor.sysctl("net/ipv4/conf/flannel.1/rp_filter", "1"):
        doctor.of_agent("--peers").names(
            r"rp_filter: strict for flannel.1", r"sysctl -w net.ipv4.conf.flannel/1.rp_filter=2"
        )
    with doctor.sysctl("net/ipv4/conf/eth0/rp_filter", "1"):  # the answer would go out there
        report = doctor.of_agent()
        assert report.graded("wrong") == []


def test_a_route_to_a_peer_that_the_filter_does_not_believe(doctor: Doctor) -> None:
    with (
        doctor.sysctl("net/ipv4/conf/eth0/rp_filter", "1"),
        doctor.done(1, "sh", "-ec", ASTRAY, undo="ip link del astray"),
    ):
        doctor.of_agent("--peers").names(
            r"rp_filter: strict for eth0 .* n3 \(192.168.50.3\)", r"conf.eth0.rp_filter=2"
        )


def test_forwarding_is_off(doctor: Doctor) -> None:
    with doctor.sysctl("net/ipv4/conf/flannel.1/forwarding", "0"):
        doctor.of_agent().names(r"ip_forward: off for flannel.1", r"sysctl -w net.ipv4.conf.flann")


def test_another_tool_drops_what_is_forwarded(doctor: Doctor) -> None:
    docker = (
        "iptables -P FORWARD DROP; iptables -N DOCKER; iptables -A FORWARD -o docker0 -j DOCKER"
    )
    undo = "iptables -P FORWARD ACCEPT; iptables -F FORWARD; iptables -X DOCKER"
    with doctor.done(1, "sh", "-ec", docker, undo=undo):
        doctor.of_agent().names(
            r"firewall: iptables-nft filter FORWARD drops Pods' packets from the tunnel and Pods'"
            r" packets into the tunnel: policy drop \(Docker is at work there\)",
            r"iptables -I FORWARD -s 10.244.0.0/16 -j ACCEPT.*EnableNFTables false",
        )
        gone = "iptables -D FORWARD -j TOOL; iptables -F TOOL; iptables -X TOOL"
        with doctor.done(1, "sh", "-ec", TOOL, undo=gone):
            assert doctor.of_agent().graded("wrong") == []


def test_the_port_is_blocked_here(doctor: Doctor) -> None:
    with doctor.done(1, "nft", DROP_8472, undo="nft delete table inet blocks"):
        doctor.of_agent("--peers").names(
            r"firewall: nft inet blocks in drops UDP 8472 from peers: rule with handle \d+",
            r"let UDP 8472 in",
        )


def test_the_port_is_blocked_at_a_peer(doctor: Doctor) -> None:
    with doctor.done(3, "nft", DROP_8472, undo="nft delete table inet blocks"):
        doctor.of_agent("--peers").names(
            r"peer n3: no answer .* answers ping at 192.168.50.3, but UDP 8472 does not get there",
            r"firewalls on n3",
        )


def test_a_peer_whose_agent_does_not_run(doctor: Doctor) -> None:
    with doctor.done(3, "ip", "link", "set", "flannel.1", "down", undo=doctor.up_again()):
        doctor.of_agent("--peers").names(
            r"peer n3: no answer .* nothing receives at 192.168.50.3 UDP port 8472", r"start the ag"
        )


def test_a_lease_has_the_wrong_mac(doctor: Doctor) -> None:
    with doctor.annotated(3, mac="02:00:00:00:99:99"):
        doctor.of_agent("--peers").names(
            r"peer n3: wrong MAC: it answers to broadcast, and not to 02:00:00:00:99:99",
            r"agent of n3",
        )


def test_a_peer_has_the_wrong_mac_of_this_node(doctor: Doctor) -> None:
    wrong = "02:00:00:00:99:98"
    right = doctor.net.status(1).tunnels[0].vtep_mac
    change = (
        "ip neigh replace 10.244.1.0 lladdr {0} nud permanent dev flannel.1; "
        "bridge fdb replace {0} dev flannel.1 dst 192.168.50.1 self permanent"
    )
    with doctor.done(3, "sh", "-ec", change.format(wrong), undo=change.format(right)):
        doctor.of_agent("--peers").names(
            rf"peer n3: wrong MAC: it answers to another MAC than this node's, {right}",
            r"restart the agent of n3",
        )


def test_a_peer_that_is_rejected_by_the_source_check(doctor: Doctor) -> None:
    table = (
        "table ip nat3 { chain out { type nat hook postrouting priority 100; "
        "udp dport 8472 snat to 192.168.50.203; }; }"
    )
    with (
        doctor.done(
            3,
            *("ip", "addr", "add", "192.168.50.203/24", "dev", "eth0"),
            undo="ip addr del 192.168.50.203/24 dev eth0",
        ),
        doctor.done(3, "nft", table, undo="nft delete table ip nat3"),
    ):
        doctor.of_agent("--peers").names(
            r"peer n3: rejected by the source check: its packets come from an address that is no",
            r"public-ip of n3, 192.168.50.3",
        )


def test_a_forbidden_verb(doctor: Doctor) -> None:
    doctor.net.tell_api(api.Revoke("patch", "nodes/status"))
    try:
        doctor.of_agent().names(
            r'API patch nodes/status: .*the ClusterRole lacks the verb "patch"', r"ClusterRole"
        )
    finally:
        doctor.net.tell_api(api.Grant("patch", "nodes/status"))


def test_what_only_the_doctor_asks_for_is_no_fault(doctor: Doctor) -> None:
    doctor.net.tell_api(api.Revoke("get", "nodes"))
    try:
        report = doctor.of_agent()
        assert report.graded("wrong") == []
        assert any("agent does without it" in line for line in report.graded("note"))
        assert any(line.startswith("podCIDR: 10.244.1.0/24") for line in report.graded("ok"))
    finally:
        doctor.net.tell_api(api.Grant("get", "nodes"))


def test_no_api_server(doctor: Doctor) -> None:
    doctor.net.tell_api(api.StopServing())
    try:
        doctor.of_agent().names(r"API server: cannot get nodes: ", r"see that this node reaches it")
    finally:
        doctor.net.tell_api(api.StartServing())
    wait_for(lambda: doctor.of_agent().graded("wrong") == [])


def test_a_rival_conflist(doctor: Doctor) -> None:
    directory = doctor.net.directory(1) / "net.d"
    (directory / "87-podman.conflist").write_text("{}")  # runtimes take the first
    rival = directory / "05-cilium.conflist"
    rival.write_text("{}")
    try:
        doctor.of_agent().names(
            r"05-cilium.conflist comes before 10-flannel", r"move 05-cilium.confl"
        )
    finally:
        rival.unlink()
    assert doctor.of_agent().graded("wrong") == []


# Without an agent: before one is installed, or when it does not start.


def test_a_healthy_node_is_well_before(idle: Doctor) -> None:
    report = idle.of_flags()
    assert (report.graded("wrong"), report.code) == ([], 0)
    assert any(line.startswith("agent: none runs") for line in report.graded("note"))


def test_no_tun(idle: Doctor) -> None:
    idle.of_flags(before="mount -t tmpfs none /dev/net").names(
        r"TUN device: cannot open /dev/net/tun: there is no /dev/net/tun", r"modprobe tun"
    )


def test_the_port_is_taken(idle: Doctor) -> None:
    with udp_in(idle.node, "192.168.50.1", 8472) as taken:
        assert taken.family == socket.AF_INET
        idle.of_flags().names(
            rf"UDP port 8472: taken by .* \(pid {os.getpid()}\)", r"stop .*, or another Port"
        )
    vxlan = ("ip", "link", "add", "vx9", "type", "vxlan", "id", "9", "dstport", "8472")
    with idle.done(1, *vxlan, "dev", "eth0", undo="ip link del vx9"):
        idle.run(1, "ip", "link", "set", "vx9", "up")
        idle.of_flags().names(
            r"taken by vx9, a kernel vxlan device \(VNI 9\)", r"ip link del vx9, or another Port"
        )


def test_a_pod_cidr_outside_the_network(idle: Doctor, tmp_path: Path) -> None:
    conf = tmp_path / "net-conf.json"
    backend = {"Type": "vxlan", "VNI": 1, "Port": 8472}
    conf.write_text(
        json.dumps({"Network": "10.99.0.0/16", "EnableNFTables": True, "Backend": backend})
    )
    idle.of_flags("--net-config-path", str(conf)).names(
        r'podCIDR: .*"10.99.0.0/16" .* doesn\'t contain "10.244.1.0/24"', r"--cluster-cidr"
    )


def test_a_damaged_saved_state(idle: Doctor) -> None:
    saved = idle.net.directory(1) / "leases.saved"
    with kept(saved):
        content = bytearray(saved.read_bytes())
        content[-1] ^= 1
        saved.write_bytes(content)
        idle.of_flags().names(rf"saved state: {saved}: it is damaged", rf"rm {saved}")
        assert saved.read_bytes() == content  # looked at only


def test_a_full_disk(idle: Doctor, tmp_path: Path) -> None:
    fill = (  # dd fails when all is full, as it is to be
        f"mount -t tmpfs -o size=64k none {tmp_path}; "
        f"dd if=/dev/zero of={tmp_path}/big bs=64k count=2 2>/dev/null || true"
    )
    idle.of_flags("--subnet-file", str(tmp_path / "subnet.env"), before=fill).names(
        rf"{tmp_path}: cannot take subnet.env: no space left on device", rf"df -h {tmp_path}"
    )
