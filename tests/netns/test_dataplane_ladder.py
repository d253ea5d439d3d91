# SPDX-License-Identifier: Apache-2.0
"""Every offload can be missing: traffic flows without it, the status shows what is in force.

Missing by option here; what the kernel refuses while packets flow is test_dataplane_refused.
"""

from collections.abc import Iterator

import pytest

from fwd.runflags import OFFLOADS
from tests.netns import topo, traffic
from tests.netns.topo import Counting, Net

pytestmark = [pytest.mark.netns, pytest.mark.root]

# What falls with it: the vnet header carries TSO, and the kernel has USO beside TSO only.
FALLS_TOO = {"vnet-hdr": {"tso", "uso"}, "tso": {"uso"}}
RUNGS = {name: {name} for name in OFFLOADS} | {"all": set(OFFLOADS)}


@pytest.fixture(scope="module")
def both() -> Iterator[Net]:
    with topo.built(families=(4, 6)) as net:
        yield net


@pytest.mark.parametrize("missing", RUNGS.values(), ids=RUNGS.keys())
def test_without(net: Net, missing: set[str]) -> None:
    net.restart(1, "--disable-offload", ",".join(sorted(missing)))
    counting = Counting(net, 1)
    traffic.everything_flows(net)

    offloads = net.tunnel(1).offloads
    gone = missing.union(*(FALLS_TOO.get(name, set()) for name in missing))
    assert set(offloads.in_force) == set(OFFLOADS) - gone
    assert set(offloads.disabled) >= missing
    assert set(offloads.disabled) | set(offloads.fallen_back) == gone
    for name in gone:
        assert sum(f" offload={name} " in line for line in net.log(1)) == 1

    assert net.tunnel(1).workers == (1 if "multi-queue" in gone else net.tunnel(2).workers)
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
    traffic.everything_flows(net)
    assert net.tunnel(2).offloads.in_force == ()
