# SPDX-License-Identifier: Apache-2.0
"""Nodes that are broken in one way each: the doctor names it, what to do, and nothing else.

One lab with both families for all: n1 is the patient, n2 runs fwd too, n3 has the kernel's vxlan
device.  What is broken in one family is no fault of the other.  Excluded: the way to other nodes
(test_doctor_peers.py).
"""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from fwd.core.rules import TAPS
from fwd.lab.apiserver import commands as api
from fwd.lab.topology import Source
from tests.netns import topo
from tests.netns.doctor_support import DROP_8472, Doctor, kept
from tests.netns.lab_support import wait_for
from tests.netns.sockets import udp_in
from tests.netns.topo import Net
from tests.unable import require_tunnel_gso

pytestmark = pytest.mark.netns

OPTION = "--tunnel-gso"

DOCKER = """
{0} -P FORWARD DROP
{0} -N DOCKER
{0} -A FORWARD -o docker0 -j DOCKER
"""
NO_DOCKER = """
{0} -P FORWARD ACCEPT
{0} -F FORWARD
{0} -X DOCKER
"""
TOOL = """
{0} -N TOOL
{0} -A FORWARD -j TOOL
{0} -A TOOL -s {1} -j ACCEPT
{0} -A TOOL -d {1} -j ACCEPT
"""
NO_TOOL = """
{0} -D FORWARD -j TOOL
{0} -F TOOL
{0} -X TOOL
"""


@pytest.fixture(scope="module")
def both() -> Iterator[Net]:
    """An agent runs."""
    with topo.built(source=Source.KUBE, families=(4, 6)) as net:
        (net.directory(1) / "net.d").mkdir(exist_ok=True)
        yield net


@pytest.fixture(scope="module")
def stopped(both: Net) -> None:
    """The agent has ended.  For the tests after those that need it."""
    both.stop(1)


# With an agent that runs, by what it says.


def test_a_healthy_node_is_well(general: Doctor) -> None:
    report = general.of_agent()
    assert (report.graded("wrong"), report.code) == ([], 0)
    for subject in ("underlay IPv4", "underlay IPv6", "ip_forward", "IPv6 forwarding"):
        assert any(line.startswith(subject) for line in report.graded("ok")), subject


def test_strict_reverse_path_filter(general: Doctor) -> None:
    """Of IPv4, which alone has it."""
    with general.sysctl("net/ipv4/conf/flannel.1/rp_filter", "1"):
        general.of_agent("--peers").names(
            r"rp_filter: strict for flannel.1", r"sysctl -w net.ipv4.conf.flannel/1.rp_filter=2"
        )
    with general.sysctl("net/ipv4/conf/eth0/rp_filter", "1"):  # the answer would go out there
        report = general.of_agent()
        assert report.graded("wrong") == []


def test_forwarding_is_off(doctor: Doctor) -> None:
    """IPv4 has a switch for each device that packets come by, IPv6 one for all."""
    where, subject, remedy = {
        4: ("net/ipv4/conf/flannel.1", "ip_forward: off for flannel.1", "net.ipv4.conf.flannel/1"),
        6: ("net/ipv6/conf/all", "IPv6 forwarding: off: the kernel", "net.ipv6.conf.all"),
    }[doctor.net.family]
    with doctor.sysctl(f"{where}/forwarding", "0"):
        doctor.of_agent().names(subject, rf"sysctl -w {remedy}.forwarding=1")


def test_another_tool_drops_what_is_forwarded(doctor: Doctor) -> None:
    program = {4: "iptables", 6: "ip6tables"}[doctor.net.family]
    network = doctor.net.addresses.cluster
    docker, tool = DOCKER.format(program), TOOL.format(program, network)
    with doctor.done(1, "sh", "-ec", docker, undo=NO_DOCKER.format(program)):
        doctor.of_agent().names(
            rf"firewall: {program}-nft filter FORWARD drops Pods' packets from the tunnel and Pods'"
            r" packets into the tunnel: policy drop \(Docker is at work there\)",
            rf"{program} -I FORWARD -s {network} -j ACCEPT.*EnableNFTables false",
        )
        with doctor.done(1, "sh", "-ec", tool, undo=NO_TOOL.format(program)):
            assert doctor.of_agent().graded("wrong") == []
    rule = f"FORWARD -i {doctor.net.device} -j DROP"
    with doctor.done(1, *f"{program} -A {rule}".split(), undo=f"{program} -D {rule}"):
        doctor.of_agent().names(
            rf"{program}-nft filter FORWARD drops Pods' packets from the tunnel: -A {rule}",
            "EnableNFTables false",
        )


def test_a_table_that_is_too_large(general: Doctor, tmp_path: Path) -> None:
    """The doctor has no more memory than the agent's container leaves it.  Others are looked at."""
    lines = ["table ip big { chain in { type filter hook input priority 0; }; }"]
    lines += [
        f'add rule ip big in ip saddr 192.0.2.1 tcp dport {port} counter drop comment "{port}"'
        for port in range(1, 15001)
    ]
    rules = tmp_path / "rules"
    rules.write_text("\n".join([*lines, DROP_8472.format("inet"), ""]))
    undo = "nft delete table ip big; nft delete table inet blocks"
    with general.done(1, "nft", "-f", str(rules), undo=undo):
        report = general.of_agent()
        report.names(r"firewall: nft inet blocks in drops UDP 8472 from peers", r"let UDP 8472 in")
        notes = [line for line in report.graded("note") if line.startswith("firewall")]
        assert [line.partition(" is too large")[0] for line in notes] == ["firewall: nft ip big"]


def test_a_forbidden_verb(general: Doctor) -> None:
    general.net.tell_api(api.Revoke("patch", "nodes/status"))
    try:
        general.of_agent().names(
            r'API patch nodes/status: .*the ClusterRole lacks the verb "patch"', r"ClusterRole"
        )
    finally:
        general.net.tell_api(api.Grant("patch", "nodes/status"))


def test_what_only_the_doctor_asks_for_is_no_fault(general: Doctor) -> None:
    general.net.tell_api(api.Revoke("get", "nodes"))
    try:
        report = general.of_agent()
        assert report.graded("wrong") == []
        assert any("agent does without it" in line for line in report.graded("note"))
        assert any(line.startswith("podCIDR: 10.244.1.0/24") for line in report.graded("ok"))
    finally:
        general.net.tell_api(api.Grant("get", "nodes"))


def test_no_api_server(general: Doctor) -> None:
    general.net.tell_api(api.StopServing())
    try:
        general.of_agent().names(
            r"API server: cannot get nodes: ", r"see that this node reaches it"
        )
    finally:
        general.net.tell_api(api.StartServing())
    wait_for(lambda: general.of_agent().graded("wrong") == [])


def test_a_rival_conflist(general: Doctor) -> None:
    directory = general.net.directory(1) / "net.d"
    (directory / "87-podman.conflist").write_text("{}")  # runtimes take the first
    rival = directory / "05-cilium.conflist"
    rival.write_text("{}")
    try:
        general.of_agent().names(
            r"05-cilium.conflist comes before 10-flannel", r"move 05-cilium.confl"
        )
    finally:
        rival.unlink()
    assert general.of_agent().graded("wrong") == []


# Without an agent: before one is installed, or when it does not start.


@pytest.mark.usefixtures("stopped")
def test_a_healthy_node_is_well_before(general: Doctor) -> None:
    report = general.of_flags()
    assert (report.graded("wrong"), report.code) == ([], 0)
    assert any(line.startswith("agent: none runs") for line in report.graded("note"))


@pytest.mark.usefixtures("stopped")
def test_no_tun(general: Doctor) -> None:
    general.of_flags(before="mount -t tmpfs none /dev/net").names(
        r"TUN device: cannot open /dev/net/tun: there is no /dev/net/tun", r"modprobe tun"
    )


@pytest.mark.usefixtures("stopped")
def test_another_tool_drops_what_comes_out_of_the_tap(doctor: Doctor) -> None:
    """With --tunnel-gso that is bulk, and nothing else stands still."""
    require_tunnel_gso()
    family = doctor.net.family
    program, begin = {4: "iptables", 6: "ip6tables"}[family], TAPS[family]
    rules = DOCKER.format(program) + TOOL.format(program, doctor.net.addresses.cluster)
    accept = f"{program} -I FORWARD -i {begin}+ -j ACCEPT"
    undo = NO_DOCKER.format(program) + f"{program} -F TOOL; {program} -X TOOL"
    with doctor.done(1, "sh", "-ec", rules, undo=undo):
        assert doctor.of_flags().graded("wrong") == []
        doctor.of_flags(OPTION).names(
            rf"FORWARD drops the bulk that comes out of {begin}1 \(--tunnel-gso\): policy drop",
            rf"{re.escape(accept)}, or .* without --tunnel-gso$",
        )
        doctor.run(1, *accept.split())
        assert doctor.of_flags(OPTION).graded("wrong") == []
    with doctor.done(1, "sh", "-ec", DOCKER.format(program), undo=NO_DOCKER.format(program)):
        doctor.of_flags(OPTION).names(
            r"FORWARD drops the bulk .* and Pods' packets from the tunnel and Pods'",
            rf"{re.escape(accept)}.*; and accept what is to and from",
        )


@pytest.mark.usefixtures("stopped")
def test_the_port_is_taken(doctor: Doctor) -> None:
    own = doctor.net.underlay(1)
    with udp_in(doctor.node, own, 8472):
        doctor.of_flags().names(
            rf"UDP port 8472: taken by .* \(pid {os.getpid()}\)", r"stop .*, or another Port"
        )
    # Without an address: it has all of this family, which netlink does not tell.
    vxlan = f"ip -{doctor.net.family} link add vx9 type vxlan id 9 dstport 8472".split()
    with doctor.done(1, *vxlan, undo="ip link del vx9"):
        doctor.run(1, "ip", "link", "set", "vx9", "up")
        doctor.of_flags().names(
            r"taken by vx9, a kernel vxlan device \(VNI 9\)", r"ip link del vx9, or another Port"
        )


@pytest.mark.usefixtures("stopped")
def test_a_pod_cidr_outside_the_network(doctor: Doctor, tmp_path: Path) -> None:
    other, subnet = {4: "10.99.0.0/16", 6: "fd00:99::/48"}, doctor.net.addresses.subnet(1)
    networks = {plan.family: str(plan.cluster) for plan in doctor.net.plan.plans}
    networks[doctor.net.family] = outside = other[doctor.net.family]
    conf = tmp_path / "net-conf.json"
    backend = {"Type": "vxlan", "VNI": 1, "Port": 8472}
    keys = {"Network": networks[4], "IPv6Network": networks[6], "EnableIPv6": True}
    conf.write_text(json.dumps(keys | {"EnableNFTables": True, "Backend": backend}))
    doctor.of_flags("--net-config-path", str(conf)).names(
        rf'podCIDR: .*"{outside}" .* doesn\'t contain "{subnet}"', r"--cluster-cidr"
    )


@pytest.mark.usefixtures("stopped")
def test_a_damaged_saved_state(general: Doctor) -> None:
    saved = general.net.directory(1) / "leases.saved"
    with kept(saved):
        content = bytearray(saved.read_bytes())
        content[-1] ^= 1
        saved.write_bytes(content)
        general.of_flags().names(rf"saved state: {saved}: it is damaged", rf"rm {saved}")
        assert saved.read_bytes() == content  # looked at only


@pytest.mark.usefixtures("stopped")
def test_a_full_disk(general: Doctor, tmp_path: Path) -> None:
    fill = (  # dd fails when all is full, as it is to be
        f"mount -t tmpfs -o size=64k none {tmp_path}; "
        f"dd if=/dev/zero of={tmp_path}/big bs=64k count=2 2>/dev/null || true"
    )
    general.of_flags("--subnet-file", str(tmp_path / "subnet.env"), before=fill).names(
        rf"{tmp_path}: cannot take subnet.env: no space left on device", rf"df -h {tmp_path}"
    )
