# SPDX-License-Identifier: Apache-2.0
"""A way to other nodes that is broken in one way each: the doctor names it, and nothing else.

One lab with both families for all: n1 is the patient, n2 runs fwd too, n3 has the kernel's vxlan
device.  What is broken in one family is no fault of the other.
"""

import json
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from fwd.lab.topology import Source
from tests.netns import topo
from tests.netns.doctor_support import DROP_8472, Doctor
from tests.netns.topo import Net

pytestmark = pytest.mark.netns

DEAF = """
table inet deaf {
  chain in {
    type filter hook input priority 0
    iifname eth0 icmp type 8 drop
    iifname eth0 icmpv6 type 128 drop
  }
}
"""
"""Pings of the underlay, not those of the tunnel."""
LATE = """
table {0} late {{
  chain in {{
    type filter hook input priority 0
    iifname "flannel*" {1} type echo-request quota until 250 bytes drop
  }}
}}
"""
"""Two echoes of 84 or 104 bytes, but not a third one."""
ASTRAY = """
ip link add astray type veth peer name lost
ip link set lost up
ip link set astray up
ip route add 192.168.50.3/32 dev astray
"""


@pytest.fixture(scope="module")
def both() -> Iterator[Net]:
    with topo.built(source=Source.KUBE, families=(4, 6)) as net:
        yield net


def test_all_peers_are_well(general: Doctor) -> None:
    report = general.of_agent("--peers")
    assert (report.graded("wrong"), report.code) == ([], 0)
    peers = [line for line in report.graded("ok") if line.startswith("peer ")]
    assert len(peers) == 4
    assert ["no loss, 1450 bytes pass" in line for line in peers] == [True, True, False, False]
    assert ["no loss, 1430 bytes pass" in line for line in peers] == [False, False, True, True]


def test_the_path_takes_small_packets_only(general: Doctor) -> None:
    """That of both families: it is one link."""
    net = general.net
    net.ip(net.switch, "link set port2 mtu 1400")
    try:
        general.of_agent().names_all(
            (r"to n2 \(192.* up to 1400 bytes pass, of 1500", r'"MTU": 1400 in .* then get 1350'),
            (r"to n2 \(fd00.* up to 1400 bytes pass, of 1500", r'"MTU": 1380 in .* then get 1330'),
        )
        # Where the nodes answer no ping outside the tunnel.
        with (
            general.done(2, "nft", DEAF, undo="nft delete table inet deaf"),
            general.done(3, "nft", DEAF, undo="nft delete table inet deaf"),
        ):
            answers = r"peer n2: {} answers, but small packets only: up to {} bytes of"
            general.of_agent("--peers").names_all(
                (answers.format(r"10\.244\.2\.0", "135[0-4]"), r'"MTU": 140[0-4] in Backend'),
                (answers.format("fd00:10:244:2::", "133[0-4]"), r'"MTU": 138[0-4] in Backend'),
            )
    finally:
        net.ip(net.switch, "link set port2 mtu 1500")


def test_a_route_to_a_peer_that_the_filter_does_not_believe(general: Doctor) -> None:
    """rp_filter is IPv4's only."""
    with (
        general.sysctl("net/ipv4/conf/eth0/rp_filter", "1"),
        general.done(1, "sh", "-ec", ASTRAY, undo="ip link del astray"),
    ):
        general.of_agent("--peers").names(
            r"rp_filter: strict for eth0 .* n3 \(192.168.50.3\)", r"conf.eth0.rp_filter=2"
        )


@pytest.mark.parametrize("is_direct", [False, True], ids=["somebody's", "DirectRouting"])
def test_a_route_past_the_tunnel_on_which_all_is_lost(
    doctor: Doctor, tmp_path: Path, *, is_direct: bool
) -> None:
    """The tunnel, its MAC and its port have no part in it."""
    net = doctor.net
    nobody = ip_address(net.underlay(3)) + 100
    host = f"{net.vtep(3)}/{net.addresses.cluster.max_prefixlen}"
    route = f"-{net.family} route {{}} {host} via {nobody} dev eth0"
    _, _, *flags = net.command(1)
    before = Path(flags[flags.index("--net-config-path") + 1]).read_text()
    told = json.loads(before)
    told["Backend"]["DirectRouting"] = is_direct
    conf = tmp_path / "net-conf.json"
    conf.write_text(json.dumps(told))
    remedy = r"let the network between the nodes carry Pods'" if is_direct else r"ip route get"
    with doctor.done(1, "ip", *route.format("add").split(), undo=f"ip {route.format('del')}"):
        doctor.of_flags("--peers", "--net-config-path", str(conf)).names(
            r"peer n3: .* eth0", remedy
        )


def test_the_first_requests_are_lost(doctor: Doctor) -> None:
    """Of a peer that answers from then on: its MAC is right."""
    net = doctor.net
    kind, icmp = {4: ("ip", "icmp"), 6: ("ip6", "icmpv6")}[net.family]
    with doctor.done(3, "nft", LATE.format(kind, icmp), undo=f"nft delete table {kind} late"):
        doctor.of_agent("--peers").names(
            r"peer n3: .* the first requests were lost, 4 of 4 later ones not", r"fwd drops"
        )


def test_the_port_is_blocked_here(general: Doctor) -> None:
    """By one rule for both families, which is one fault."""
    table = DROP_8472.format("inet")
    with general.done(1, "nft", table, undo="nft delete table inet blocks"):
        general.of_agent("--peers").names(
            r"firewall: nft inet blocks in drops UDP 8472 from peers: rule with handle \d+",
            r"let UDP 8472 in",
        )


def test_the_port_is_blocked_at_a_peer(doctor: Doctor) -> None:
    net = doctor.net
    kind = "ip" if net.family == 4 else "ip6"
    with doctor.done(3, "nft", DROP_8472.format(kind), undo=f"nft delete table {kind} blocks"):
        doctor.of_agent("--peers").names(
            rf"peer n3: no answer .* answers ping at {net.underlay(3)}, but UDP 8472 does not get",
            r"firewalls on n3",
        )


def test_a_peer_whose_agent_does_not_run(doctor: Doctor) -> None:
    net = doctor.net
    down = ("ip", "link", "set", net.device, "down")
    with doctor.done(3, *down, undo=doctor.up_again(3)):
        doctor.of_agent("--peers").names(
            rf"peer n3: no answer .* nothing receives at {net.underlay(3)} UDP port 8472",
            r"start the agent of n3",
        )


def test_a_lease_has_the_wrong_mac(doctor: Doctor) -> None:
    with doctor.annotated(3, mac="02:00:00:00:99:99"):
        doctor.of_agent("--peers").names(
            r"peer n3: wrong MAC: it answers to broadcast, and not to 02:00:00:00:99:99",
            r"agent of n3",
        )


def test_a_peer_has_the_wrong_mac_of_this_node(doctor: Doctor) -> None:
    net = doctor.net
    wrong, right = "02:00:00:00:99:98", net.tunnel(1).vtep_mac
    change = (
        f"ip neigh replace {net.vtep(1)} lladdr {{0}} nud permanent dev {net.device}; "
        f"bridge fdb replace {{0}} dev {net.device} dst {net.underlay(1)} self permanent"
    )
    with doctor.done(3, "sh", "-ec", change.format(wrong), undo=change.format(right)):
        doctor.of_agent("--peers").names(
            rf"peer n3: wrong MAC: it answers to another MAC than this node's, {right}",
            r"restart the agent of n3",
        )


def test_a_peer_that_is_rejected_by_the_source_check(doctor: Doctor) -> None:
    net = doctor.net
    kind, other = {4: ("ip", "192.168.50.203/24"), 6: ("ip6", "fd00:50::203/64")}[net.family]
    table = (
        f"table {kind} nat3 {{ chain out {{ type nat hook postrouting priority 100; "
        f"udp dport 8472 snat to {other.partition('/')[0]}; }}; }}"
    )
    give = ("ip", "addr", "add", other, "dev", "eth0", *("nodad",) * (net.family == 6))
    with (
        doctor.done(3, *give, undo=f"ip addr del {other} dev eth0"),
        doctor.done(3, "nft", table, undo=f"nft delete table {kind} nat3"),
    ):
        doctor.of_agent("--peers").names(
            r"peer n3: rejected by the source check: its packets come from an address that is no",
            rf"public-ip of n3, {net.underlay(3)}",
        )
