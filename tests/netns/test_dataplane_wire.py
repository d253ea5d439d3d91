# SPDX-License-Identifier: Apache-2.0
"""What fwd puts on the wire, read off the wire: flannel spec 5.6, RFC 7348, RFC 6040.

The sender's link has no checksum offload here, so every captured datagram is complete.
"""

from collections.abc import Iterator

import pytest

from fwd.lab.underlay import UPLINK
from tests.netns import frames, sockets, topo, traffic
from tests.netns.capture import Capture
from tests.netns.frames import CE, ECT_0, ECT_1, NOT_ECT, Tunnelled
from tests.netns.inject import Injector
from tests.netns.sockets import IP_OPTIONS
from tests.netns.topo import Counting, Net

pytestmark = [pytest.mark.netns, pytest.mark.root]

PORT = 7777
DSCP_EF = 0xB8
CODEPOINTS = {"Not-ECT": NOT_ECT, "ECT(0)": ECT_0, "ECT(1)": ECT_1, "CE": CE}

# RFC 6040, figure 4: what is delivered for (inner, outer); all else leaves the inner as it is.
DELIVERED: dict[tuple[int, int], int | None] = {
    (NOT_ECT, CE): None,
    (ECT_0, ECT_1): ECT_1,
    (ECT_0, CE): CE,
    (ECT_1, CE): CE,
}


@pytest.fixture(scope="module")
def both() -> Iterator[Net]:
    with topo.built(families=(4, 6)) as net:
        sockets.ethtool(net.node(1).namespace, UPLINK, sockets.SET_TX_CHECKSUM, value=0)
        yield net


def captured(net: Net, *, tos: int = 0, flows: int = 1, each: int = 5) -> list[Tunnelled]:
    """Datagrams from Pod 1 to Pod 2, as node 1 sent them."""
    options = IP_OPTIONS[net.family]
    with Capture(net, 1) as capture, net.udp_in(net.pod(2).namespace, PORT) as server:
        for number in range(flows):
            with net.udp_in(net.pod(1).namespace, 20_000 + number) as client:
                client.setsockopt(options.level, options.tos, tos)
                client.setsockopt(options.level, options.ttl, 64)
                client.connect((net.address(net.pod(2)), PORT))
                sent = traffic.numbered(each, 200 + number)
                traffic.paced(client.send, sent)
            traffic.assert_same(traffic.receive(server, each), sent)
        found = [one for one in capture.tunnelled() if one.inner.ports[1:] == (PORT,)]
    assert len(found) == flows * each
    return found


def test_headers_of_an_encapsulated_packet(net: Net) -> None:
    for one in captured(net):
        assert (one.outer.source, one.outer.target) == (net.underlay(1), net.underlay(2))
        assert one.outer.ttl == 64
        assert not one.outer.dont_fragment
        assert one.outer.tos == 0
        assert one.outer.checksum != 0
        assert one.outer.is_intact
        overlay = b"\x08\0\0\0\0\0\1\0" + frames.mac(net.node(2).mac) + frames.mac(net.node(1).mac)
        assert one.overlay == overlay + frames.ETHERTYPE[net.family].to_bytes(2)
        assert one.inner.is_intact
        assert one.inner.ttl == 63  # the node has forwarded it, the tunnel counts as no hop


def test_segments_of_a_tcp_super_packet_are_complete(net: Net) -> None:
    pod = net.pod(2)
    counting = Counting(net, 1)
    with Capture(net, 1) as capture:
        traffic.tcp_exchange(net.pod(1).namespace, pod.namespace, net.address(pod), size=1 << 18)
        found = capture.tunnelled()
    assert all(one.outer.is_intact and one.inner.is_intact for one in found)
    assert max(len(one.inner.payload) for one in found) == net.mtu - net.ip_header
    counters = counting.at_rest()
    assert counters["out_packets"] == len(found)
    assert counters["out_reads"] < counters["out_packets"] / 2


def test_the_source_port_is_the_flows(net: Net) -> None:
    ports: dict[int, set[int]] = {}
    for one in captured(net, flows=40):
        ports.setdefault(one.inner.ports[0], set()).add(one.outer.ports[0])
    assert len(ports) == 40
    assert all(len(of_flow) == 1 for of_flow in ports.values())
    used = set.union(*ports.values())
    assert min(used) >= 49152
    assert len(used) > 4


def test_the_flow_label_is_the_flows(both: Net) -> None:
    """RFC 6438: routers that do not look for ports spread flows by it."""
    labels: dict[int, set[int]] = {}
    for one in captured(both.seen(6), flows=40):
        labels.setdefault(one.outer.ports[0], set()).add(one.outer.flow_label)
    assert all(len(of_port) == 1 for of_port in labels.values())
    used = set.union(*labels.values())
    assert 0 not in used
    assert len(used) > 4


def test_without_a_checksum_nothing_is_taken_over_ipv6(both: Net) -> None:
    """RFC 6935 allows it where flannel's kernel device does not either."""
    net = both.seen(6)
    counting = Counting(net, 1)
    with net.udp_in(net.pod(1).namespace, PORT) as server, Injector(net, 1) as injector:
        datagram = injector.encapsulated(injector.inner(b"x" * 100, port=PORT))
        injector.without_checksum(datagram)
        injector.send(datagram)
        traffic.assert_same(traffic.receive(server, 1), [b"x" * 100])
    assert counting.at_rest()["in_packets"] == 1


@pytest.mark.parametrize("ecn", CODEPOINTS.values(), ids=CODEPOINTS.keys())
def test_ecn_is_copied_to_the_outer_header_and_dscp_is_not(net: Net, ecn: int) -> None:
    for one in captured(net, tos=DSCP_EF | ecn):
        assert one.inner.tos == DSCP_EF | ecn
        assert one.outer.tos == ecn


@pytest.mark.parametrize("outer", CODEPOINTS.values(), ids=CODEPOINTS.keys())
@pytest.mark.parametrize("inner", CODEPOINTS.values(), ids=CODEPOINTS.keys())
def test_ecn_that_arrives(net: Net, inner: int, outer: int) -> None:
    wanted = DELIVERED.get((inner, outer), inner)
    counting = Counting(net, 1)
    options = IP_OPTIONS[net.family]
    with net.udp_in(net.pod(1).namespace, PORT) as server, Injector(net, 1) as injector:
        server.setsockopt(options.level, options.receive_tos, 1)
        server.settimeout(1)
        injector.tos(outer)
        datagram = injector.encapsulated(injector.inner(b"x" * 100, port=PORT, tos=DSCP_EF | inner))
        injector.send(datagram, 10)
        injector.send_merged(datagram, 50)
        for _ in range(60 if wanted is not None else 0):
            data, control, _, _ = server.recvmsg(1 << 16, 64)
            assert data == b"x" * 100
            assert [value[0] for _, _, value in control] == [DSCP_EF | (wanted or 0)]
        counters = counting.at_rest()
    assert counters["in_packets"] == 60
    assert topo.drops_of(counters) == ({"in_ecn": 60} if wanted is None else {})


@pytest.mark.parametrize(("source", "target"), [(1, 2), (3, 1), (1, 3)])
def test_the_inner_ttl_falls_by_two(net: Net, source: int, target: int) -> None:
    pod = net.pod(target)
    options = IP_OPTIONS[net.family]
    with net.udp_in(pod.namespace, PORT) as server, net.udp_in(net.pod(source).namespace) as client:
        server.setsockopt(options.level, options.receive_ttl, 1)
        client.setsockopt(options.level, options.ttl, 64)
        client.sendto(b"x", (net.address(pod), PORT))
        _, control, _, _ = server.recvmsg(16, 64)
    assert [value[0] for _, _, value in control] == [62]
