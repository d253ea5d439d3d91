# SPDX-License-Identifier: Apache-2.0
"""--tunnel-gso: bulk leaves whole through a TAP, and to all others it is the same traffic."""

import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import pytest

from fwd.core.rules import TAPS
from fwd.lab import netns, steps
from fwd.lab.underlay import UPLINK
from tests.netns import frames, sockets, topo, traffic
from tests.netns.agent_support import BOTH_FAMILIES, FACTS, Agent, Cluster, require_bridge_filter
from tests.netns.capture import Capture
from tests.netns.frames import Tunnelled
from tests.netns.handover_support import nothing_is_lost
from tests.netns.lab_support import told
from tests.netns.topo import Counting, Net, wait_until
from tests.netns.traffic import MEGABYTE
from tests.unable import require_tunnel_gso

pytestmark = [pytest.mark.netns, pytest.mark.root]

OPTION = "--tunnel-gso"
VNI = 1


@pytest.fixture(scope="module", autouse=True)
def _kernel() -> None:
    require_tunnel_gso()


@pytest.fixture(scope="module")
def both() -> Iterator[Net]:
    with topo.built(families=(4, 6), args=(OPTION,)) as net:
        assert "tunnel-gso" in net.tunnel(1).offloads.in_force
        yield net


def tap(net: Net) -> str:
    return f"{TAPS[net.family]}{VNI}"


def exchange(net: Net, target: int, *, size: int = 16 * MEGABYTE) -> dict[str, int]:
    """TCP both ways between the Pods of node 1 and another; what node 1 counted."""
    counting, pod = Counting(net, 1), net.pod(target)
    traffic.tcp_exchange(net.pod(1).namespace, pod.namespace, net.address(pod), size=size)
    return counting.at_rest()


@pytest.mark.parametrize("target", [2, 3], ids=["to fwd", "to kernel"])
def test_bulk_goes_whole_and_arrives(net: Net, target: int) -> None:
    counters = exchange(net, target)
    assert counters["out_uncut"] > 50
    assert counters["out_uncut_refused"] == 0
    assert counters["out_sends"] < counters["out_sent"] / 4
    assert topo.drops_of(counters) == {}
    topo.assert_balanced(counters)


@contextmanager
def cut_on_the_wire(net: Net) -> Iterator[None]:
    """Node 1's link takes no super-packets of TCP: the kernel cuts them."""
    where = net.node(1).namespace, UPLINK, sockets.SET_TSO
    sockets.ethtool(*where, value=0)
    try:
        yield
    finally:
        sockets.ethtool(*where, value=1)


def test_the_wire_does_not_tell(net: Net) -> None:
    """Headers, ports and order are those of what a socket sends; each segment is right."""
    with cut_on_the_wire(net), Capture(net, 1) as capture:
        counters = exchange(net, 2, size=MEGABYTE)
        found = [one for one in capture.tunnelled() if one.outer.source == net.underlay(1)]
    assert counters["out_uncut"] > 5
    assert {one.outer.ttl for one in found} == {64}
    assert {one.outer.target for one in found} == {net.underlay(2)}
    assert not any(one.outer.dont_fragment for one in found)
    assert len({one.outer.ports for one in found}) == 1, "one flow has one source port"
    single = [one for one in found if len(one.outer.payload) <= net.mtu + 30]
    bulk = [one for one in single if len(one.inner.payload) > 1000]
    assert len(bulk) > 200
    assert all(is_right(one) for one in bulk)
    assert sum(one.outer.is_unfinished for one in bulk) < len(bulk) / 10
    if net.family == 4:
        assert len({struct.unpack_from("!H", one.outer.header, 4)[0] for one in bulk}) > 200
    assert places(found) == sorted(places(found)), "in order, and nothing sent again"


def is_right(one: Tunnelled) -> bool:
    """Whether the checksums are right once the card has done what a veth leaves undone.

    The outer one is made for the finished inner one; of a lone segment, which leaves through the
    socket, it is the card's as well.
    """
    inner, outer = one.inner, one.outer
    if inner.is_unfinished:
        csum = frames.checksum(inner.pseudo + without_checksum(inner.payload))
        at = 16
        payload = inner.payload[:at] + struct.pack("!H", csum) + inner.payload[at + 2 :]
        start = len(outer.payload) - len(inner.payload)
        inner = msgspec.structs.replace(inner, payload=payload)
        outer = msgspec.structs.replace(outer, payload=outer.payload[:start] + payload)
    outer_is_right = outer.checksum != 0 and outer.is_intact
    return inner.is_intact and (one.outer.is_unfinished or outer_is_right)


def without_checksum(tcp: bytes) -> bytes:
    return tcp[:16] + bytes(2) + tcp[18:]


def places(found: list[Tunnelled]) -> list[int]:
    """Sequence numbers of the segments that carry data, from the first one on."""
    carrying = [one.inner.payload for one in found if len(one.inner.payload) > 100]
    numbers = [struct.unpack_from("!I", payload, 4)[0] for payload in carrying]
    return [(number - numbers[0]) & 0xFFFFFFFF for number in numbers]


def test_a_narrow_path_is_left_to_the_socket(net: Net) -> None:
    """Forwarding would drop what is too large for an IPv6 path; a socket makes fragments."""
    bits = 32 if net.family == 4 else 128
    route, counting = f"{net.underlay(2)}/{bits} dev {UPLINK}", Counting(net, 1)
    net.ip(net.node(1).namespace, f"route add {route} mtu 1400")
    try:
        wait_until(lambda: exchange(net, 2, size=MEGABYTE)["out_uncut"] == 0)
        counters = exchange(net, 2)
    finally:
        net.ip(net.node(1).namespace, f"route del {route}")
    assert counters["out_uncut"] == 0
    assert counting.now()["out_gso_refused"] > 0
    assert topo.drops_of(counters) == {}
    wait_until(lambda: exchange(net, 2, size=MEGABYTE)["out_uncut"] > 0)


def test_strict_filters_elsewhere_do_not_matter(both: Net) -> None:
    """The stricter one of "all" and the device's is in force, and the device has loose."""
    net = both.seen(4)
    for value in (1, 0):
        netns.apply(net.node(1).namespace, [steps.sysctl("net/ipv4/conf/all/rp_filter", value)])
        assert exchange(net, 2)["out_uncut"] > 50


def test_a_tap_that_is_down_costs_nothing_and_comes_back(net: Net) -> None:
    net.ip(net.node(1).namespace, f"link set {tap(net)} down")
    counters = exchange(net, 2)
    assert topo.drops_of(counters) == {}
    topo.assert_balanced(counters)
    repaired = f"level=warning event=device-repaired device={tap(net)}"
    wait_until(lambda: any(repaired in line for line in net.log(1)))
    wait_until(lambda: exchange(net, 2, size=MEGABYTE)["out_uncut"] > 0)


def test_a_tap_that_is_deleted_comes_back_under_a_connection(net: Net) -> None:
    pod = net.pod(2)
    with traffic.tcp_load(net.pod(1).namespace, pod.namespace, net.address(pod)) as load:
        wait_until(lambda: load.received > MEGABYTE)
        restored = told(net.log(1), "tunnel-restored")
        net.ip(net.node(1).namespace, f"link del {tap(net)}")
        wait_until(lambda: told(net.log(1), "tunnel-restored") > restored)
        begun = load.received
        wait_until(lambda: load.received > begun + 8 * MEGABYTE)
    assert exchange(net, 2)["out_uncut"] > 50


@BOTH_FAMILIES
def test_an_agent_goes_on_with_the_tap_of_the_one_before(cluster: Cluster) -> None:
    first, _ = cluster.started("n1", OPTION), cluster.started("n2")
    assert cluster.reaches(cluster.n1, "n2")
    with nothing_is_lost(cluster, seconds=3):
        second = cluster.start("n1", OPTION)
        second.says("taken-over")
        assert first.ended() == 0
    for tunnel in second.status()["tunnels"]:
        assert "tunnel-gso" in tunnel["offloads"]["in-force"]
    without = cluster.start("n1")
    assert "another offloads" in without.says("not-taken-over")


@BOTH_FAMILIES
def test_its_datagrams_are_forwarded_where_the_policy_is_to_drop(cluster: Cluster) -> None:
    require_bridge_filter()
    cluster.configure(nft=False)
    forward(cluster)
    for program in ("iptables", "ip6tables"):
        assert cluster.n1.run(program, "-P", "FORWARD", "DROP").returncode == 0
    agent, _ = cluster.started("n1", OPTION, "--iptables-resync=1"), cluster.started("n2")
    assert all(count > 10 for count in bulk(cluster, agent).values())
    time.sleep(2.5)  # two checks
    assert sum("part=rules" in line for line in agent.lines("host-set-up")) == 1
    assert not any("part=rules" in line for line in agent.lines("host-repaired"))


@BOTH_FAMILIES
def test_bulk_is_cut_until_the_node_forwards_ipv6(cluster: Cluster) -> None:
    agent, _ = cluster.started("n1", OPTION), cluster.started("n2")
    agent.says("tunnel-gso-waits")
    first = bulk(cluster, agent)
    assert first[4] > 10
    assert first[6] == 0
    forward(cluster)
    agent.says("device-repaired")
    wait_until(lambda: bulk(cluster, agent)[6] > 10)


def forward(cluster: Cluster) -> None:
    cluster.n1.run("sh", "-c", "echo 1 >/proc/sys/net/ipv6/conf/all/forwarding")


def bulk(cluster: Cluster, agent: Agent) -> dict[int, int]:
    """Exchanges some between the nodes; super-packets that have left whole so far, by family."""
    for family in FACTS:
        address = FACTS[family].tunnel_ip("n2")
        traffic.tcp_exchange(cluster.n1.name, cluster.n2.name, address, size=8 * MEGABYTE)
    return {family: agent.tunnel(family)["counters"]["out_uncut"] for family in FACTS}
