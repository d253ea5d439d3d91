# SPDX-License-Identifier: Apache-2.0
"""Every offload can be missing: traffic flows without it, the status shows it, the log says it once.

Missing by option here; what the kernel refuses while packets flow is test_dataplane_refused.
"""

from collections.abc import Iterator

import pytest

from fwd.config import OFFLOADS
from tests.netns import topo, traffic
from tests.netns.topo import Counting, Net
from tests.netns.traffic import MEGABYTE

pytestmark = [pytest.mark.netns, pytest.mark.root]

# What falls with it: the vnet header carries TSO, and the kernel has USO beside TSO only.
FALLS_TOO = {"vnet-hdr": {"tso", "uso"}, "tso": {"uso"}}
RUNGS = {name: {name} for name in OFFLOADS} | {"all": set(OFFLOADS)}
PAIRS = [(2, 1), (1, 2), (3, 1), (1, 3)]


@pytest.fixture(scope="module")
def net() -> Iterator[Net]:
    with topo.built() as net:
        yield net


def everything_flows(net: Net) -> None:
    for source, target in PAIRS:
        pod = net.pod(target)
        ends = net.pod(source).namespace, pod.namespace, net.address(pod)
        traffic.tcp_exchange(*ends, size=2 * MEGABYTE)
        traffic.udp_stream(*ends, count=300, size=net.mtu - 28)
        traffic.udp_stream(*ends, count=300, size=100)
        traffic.udp_stream(*ends, count=5, size=20_000)
        traffic.ping(ends[0], ends[2], [0, 56, net.mtu - 28, 4000])
        for size in (1200, 100):
            data = traffic.content(1, 36 * size + size // 2)
            traffic.segmented(*ends, data=data, size=size, gro=False)


@pytest.mark.parametrize("missing", RUNGS.values(), ids=RUNGS.keys())
def test_without(net: Net, missing: set[str]) -> None:
    net.restart(1, "--disable-offload", ",".join(sorted(missing)))
    counting = Counting(net, 1)
    everything_flows(net)

    offloads = net.status(1).offloads
    gone = missing.union(*(FALLS_TOO.get(name, set()) for name in missing))
    assert set(offloads.disabled) == missing
    assert set(offloads.fallen_back) == gone - missing
    assert set(offloads.in_force) == set(OFFLOADS) - gone
    for name in OFFLOADS:
        said = [line for line in net.log(1) if f"offload={name}" in line]
        assert len(said) == (name in gone), said

    assert net.status(1).workers == (1 if "multi-queue" in gone else net.status(2).workers)
    counters = counting.at_rest()
    assert topo.drops_of(counters) == {}
    topo.assert_balanced(counters)
    if "tso" in gone:
        assert counters["out_reads"] == counters["out_packets"]
    if "udp-segment" in gone:
        assert counters["out_sends"] == counters["out_sent"]


def test_no_agent_has_any(net: Net) -> None:
    for index in (1, 2):
        net.restart(index, "--disable-offload", ",".join(OFFLOADS))
    everything_flows(net)
    assert net.status(2).offloads.in_force == ()
