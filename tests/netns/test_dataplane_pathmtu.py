# SPDX-License-Identifier: Apache-2.0
"""A Pod that takes less than the tunnel's MTU: TCP from every kind of node still arrives.

A kernel peer's super-packet does not say how its sender would have cut it; what the kernel here
answers to segments that are too large has to be heeded (cext/pathmtu.h).
"""

from collections.abc import Iterator

import pytest

from tests.netns import topo, traffic
from tests.netns.topo import Net
from tests.netns.traffic import MEGABYTE

pytestmark = [pytest.mark.netns, pytest.mark.root]

POD_MTU = 1400


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


@pytest.mark.parametrize("source", [2, 3], ids=["from fwd", "from kernel"])
def test_tcp_to_a_pod_with_a_smaller_mtu(net: Net, source: int) -> None:
    sender, target = net.pod(source), net.pod(1)
    traffic.tcp_exchange(sender.namespace, target.namespace, net.address(target), size=8 * MEGABYTE)
