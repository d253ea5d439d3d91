# SPDX-License-Identifier: Apache-2.0
"""UDP_SEGMENT refused, and a TUN deleted, while packets flow: these go on."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fwd.lab.underlay import UPLINK
from tests.netns import frames, sockets, topo, traffic
from tests.netns.capture import Capture
from tests.netns.lab_support import told
from tests.netns.topo import Counting, Net, wait_until
from tests.netns.traffic import MEGABYTE

pytestmark = [pytest.mark.netns, pytest.mark.root]

SHIM = Path(__file__).with_name("refuse_segment.c")


@pytest.fixture(scope="module")
def both() -> Iterator[Net]:
    with topo.built(families=(4, 6)) as net:
        yield net


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which(os.environ.get("CC") or "cc") or "gcc"
    built = tmp_path_factory.mktemp("shim") / "refuse_segment.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", built, SHIM], check=True, timeout=60)
    return built


def test_a_device_that_cannot_checksum(net: Net, shim: Path) -> None:
    """EIO: each peer is asked once a minute, it is said once, and all of it is sent again."""
    net.restart(1, env={"LD_PRELOAD": str(shim)})
    before, counting = net.tunnel(1), Counting(net, 1)
    assert "udp-segment" in before.offloads.in_force
    traffic.everything_flows(net)
    after, counters = net.tunnel(1), counting.at_rest()
    assert set(before.offloads.in_force) - set(after.offloads.in_force) == {"udp-segment"}
    assert after.offloads.fallen_back == ("udp-segment",)
    assert 1 <= counters["out_gso_refused"] <= before.workers * len(net.plan.nodes)
    assert counters["out_sends"] == counters["out_sent"]
    assert topo.drops_of(counters) == {}
    topo.assert_balanced(counters)

    def said() -> int:
        return sum("offload=udp-segment " in line for line in net.log(1))

    wait_until(lambda: said() > 0)
    traffic.everything_flows(net)
    assert said() == 1


def test_a_link_without_checksum_offload(net: Net) -> None:
    """Which error that gives, if any, is the kernel's choice; traffic flows in any case."""
    net.restart(1)
    namespace = net.node(1).namespace
    sockets.ethtool(namespace, UPLINK, sockets.SET_TX_CHECKSUM, value=0)
    try:
        traffic.everything_flows(net)
    finally:
        sockets.ethtool(namespace, UPLINK, sockets.SET_TX_CHECKSUM, value=1)
    assert topo.drops_of(net.tunnel(1).counters) == {}


def test_a_path_with_a_smaller_mtu(net: Net) -> None:
    """EINVAL: single datagrams, fragmented, to this peer, and batches again once it has healed."""
    net.restart(1)
    counting, route = Counting(net, 1), f"{net.underlay(2)} dev {UPLINK}"
    net.ip(net.node(1).namespace, f"route add {route} mtu 1400")
    with Capture(net, 1) as capture:
        exchange(net, 2)
        found = [frames.parse_ip(frame[14:]) for frame in capture.frames()]
    assert any(one and one.fragment for one in found)
    counters = counting.at_rest()
    assert counters["out_gso_refused"] > 0
    assert topo.drops_of(counters) == {}
    assert "udp-segment" in net.tunnel(1).offloads.in_force
    assert packs(net, 3)

    net.ip(net.node(1).namespace, f"route del {route}")
    wait_until(lambda: packs(net, 2))


def exchange(net: Net, target: int) -> None:
    pod = net.pod(target)
    traffic.tcp_exchange(net.pod(1).namespace, pod.namespace, net.address(pod), size=MEGABYTE)


def packs(net: Net, target: int) -> bool:
    """Whether what node 1 sends to that node goes out in batches."""
    counting = Counting(net, 1)
    exchange(net, target)
    counters = counting.at_rest()
    return counters["out_sends"] < counters["out_sent"] / 2


@pytest.mark.parametrize("index", [1, 2], ids=["receiver", "sender"])
def test_a_tun_that_is_deleted_comes_back_under_a_connection(net: Net, index: int) -> None:
    net.restart(1)
    pod = net.pod(1)
    with traffic.tcp_load(net.pod(2).namespace, pod.namespace, net.address(pod)) as load:
        wait_until(lambda: load.received > MEGABYTE)
        before, restored = net.tunnel(index).counters, told(net.log(index), "tunnel-restored")
        net.ip(net.node(index).namespace, f"link del {net.device}")
        wait_until(lambda: told(net.log(index), "tunnel-restored") > restored)
        begun = load.received
        wait_until(lambda: load.received > begun + 8 * MEGABYTE)
        after = net.tunnel(index).counters
    assert all(after[name] >= count for name, count in before.items())
