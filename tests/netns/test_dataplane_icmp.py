# SPDX-License-Identifier: Apache-2.0
"""Net unreachable, or no route, for destinations in the cluster network that no node owns.

RFC 1122, 3.2.2; RFC 4443, 2.4 and 3.1.
"""

import errno
import os
import socket
import struct
import time
from collections.abc import Iterator

import pytest

from tests.netns import frames, topo, traffic
from tests.netns.sockets import IP_OPTIONS, af_of, open_in
from tests.netns.topo import Counting, Net, wait_until

pytestmark = [pytest.mark.netns, pytest.mark.root]

RATE = 100  # a second and worker
UNREACHABLE = {4: (3, 0), 6: (1, 0)}
ECHO = {4: 8, 6: 128}
ERRORS = {
    4: {"unreachable": 3, "source quench": 4, "redirect": 5, "time exceeded": 11, "parameter": 12},
    6: {"unreachable": 1, "too big": 2, "time exceeded": 3, "parameter": 4, "unknown error": 127},
}


@pytest.fixture(scope="module")
def both() -> Iterator[Net]:
    with topo.built(fwd=1, kernel=1, families=(4, 6)) as net:
        yield net


@pytest.fixture(params=["Pod", "host"])
def sender(request: pytest.FixtureRequest, net: Net) -> str:
    """Namespace of a sender on node 1."""
    return net.pod(1).namespace if request.param == "Pod" else net.node(1).namespace


def test_it_reaches_the_sender(net: Net, sender: str) -> None:
    options = IP_OPTIONS[net.family]
    with net.udp_in(sender) as sock:
        sock.setsockopt(options.level, options.receive_errors, 1)
        sock.connect((net.nobody, 9))
        sock.settimeout(2)
        sock.send(b"anybody?")
        with pytest.raises(OSError, match=os.strerror(errno.ENETUNREACH)):
            sock.recv(16)
        data, control, _, _ = sock.recvmsg(64, 128, socket.MSG_ERRQUEUE)
    assert data == b"anybody?"
    kind, code = struct.unpack_from("=xxxxxBB", control[0][2])  # struct sock_extended_err
    assert (kind, code) == UNREACHABLE[net.family]


def test_it_is_rate_limited(net: Net) -> None:
    counting, tunnel, begin = Counting(net, 1), net.tunnel(1), time.monotonic()
    with net.udp_in(net.pod(1).namespace) as sock:
        traffic.paced(lambda data: sock.sendto(data, (net.nobody, 9)), [b"x"] * 4000, burst=64)
    counters = counting.at_rest()
    most = RATE * tunnel.workers * (time.monotonic() - begin + 1)
    assert counters["out_no_route"] == counters["out_packets"] - counters["out_multicast"] == 4000
    assert 0 < counters["icmp_sent"] <= min(most, 3999)
    topo.assert_balanced(counting.total_at_rest())


def answered(net: Net, packet: bytes, *, count: int = 5) -> int:
    """How many errors node 1 sends about packets of its Pod; they may not hit the rate limit."""
    time.sleep(0.2)
    counting = Counting(net, 1)
    namespace, family = net.pod(1).namespace, af_of(net.any)
    with open_in(namespace, family, socket.SOCK_RAW, socket.IPPROTO_RAW) as sock:
        for _ in range(count):
            sock.sendto(packet, (net.nobody, 0))
        wait_until(lambda: counting.now()["out_no_route"] >= count)
    counters = counting.at_rest()
    assert topo.drops_of(counters) == {"out_no_route": count}
    return counters["icmp_sent"]


def icmp(net: Net, kind: int) -> bytes:
    pod, protocol = net.address(net.pod(1)), frames.ICMP[net.family]
    about = frames.ip(net.nobody, pod, bytes(8))
    head = struct.pack("!BBHI", kind, 0, 0, 0)
    length = len(head) + len(about)
    pseudo = frames.pseudo(pod, net.nobody, protocol, length) if net.family == 6 else b""
    csum = frames.checksum(pseudo + head + about)
    message = head[:2] + struct.pack("!H", csum) + head[4:] + about
    return frames.ip(pod, net.nobody, message, protocol=protocol)


@pytest.mark.parametrize(
    ("net", "kind"),
    [
        pytest.param(family, kind, id=f"{name}-IPv{family}")
        for family, kinds in ERRORS.items()
        for name, kind in kinds.items()
    ],
    indirect=["net"],
)
def test_never_about_an_icmp_error(net: Net, kind: int) -> None:
    assert answered(net, icmp(net, kind)) == 0


def test_about_an_echo_request(net: Net) -> None:
    assert answered(net, icmp(net, ECHO[net.family])) == 5


@pytest.mark.parametrize(
    ("fragment", "errors"), [(0x2000, 5), (0x2001, 0), (0x0010, 0)], ids=["first", "later", "last"]
)
def test_about_the_first_fragment_only(net: Net, *, fragment: int, errors: int) -> None:
    pod = net.address(net.pod(1))
    packet = frames.ip(pod, net.nobody, bytes(64), fragment=fragment)
    assert answered(net, packet) == errors
