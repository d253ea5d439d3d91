# SPDX-License-Identifier: Apache-2.0
"""A Pod that takes less than the tunnel's MTU: TCP from every kind of node still arrives.

A kernel peer's super-packet does not say how its sender would have cut it; what the kernel here
answers to segments that are too large has to be heeded (cext/pathmtu.h).
"""

import errno
import os
import socket
import struct
from collections.abc import Iterator

import pytest

from tests.netns import topo, traffic
from tests.netns.sockets import IP_OPTIONS
from tests.netns.topo import Net
from tests.netns.traffic import MEGABYTE

pytestmark = [pytest.mark.netns, pytest.mark.root]

POD_MTU = 1400
IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DO = 23, 2  # linux/in6.h


@pytest.fixture(scope="module")
def both() -> Iterator[Net]:
    with topo.built(families=(4, 6)) as net:
        node, pod = net.node(1), net.pod(1)
        for namespace, link in (
            (pod.namespace, "eth0"),
            (node.namespace, "veth1"),
            (node.namespace, "cni0"),
        ):
            net.ip(namespace, f"link set {link} mtu {POD_MTU}")
        yield net


def test_a_pod_is_told_the_tunnels_mtu(both: Net) -> None:
    """Pods have 20 bytes more than an IPv6 tunnel (flannel spec 5.5): ICMPv6 packet too big."""
    net, options = both.seen(6), IP_OPTIONS[6]
    with net.udp_in(net.pod(2).namespace) as sock:
        sock.setsockopt(options.level, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DO)
        sock.setsockopt(options.level, options.receive_errors, 1)
        sock.connect((net.nobody, 9))  # to whom no Pod has sent yet
        sock.settimeout(2)
        sock.send(bytes(net.plan.pod_mtu - net.ip_header - 8))
        with pytest.raises(OSError, match=os.strerror(errno.EMSGSIZE)):
            sock.recv(16)
        _, control, _, _ = sock.recvmsg(1 << 16, 128, socket.MSG_ERRQUEUE)
    kind, mtu = struct.unpack_from("=xxxxxBxxI", control[0][2])  # struct sock_extended_err
    assert (kind, mtu) == (2, net.mtu)


@pytest.mark.parametrize("source", [2, 3], ids=["from fwd", "from kernel"])
def test_tcp_to_a_pod_with_a_smaller_mtu(net: Net, source: int) -> None:
    sender, target = net.pod(source), net.pod(1)
    traffic.tcp_exchange(sender.namespace, target.namespace, net.address(target), size=8 * MEGABYTE)
