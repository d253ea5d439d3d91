# SPDX-License-Identifier: Apache-2.0
"""What must not be forwarded, as fast as a host can send it: nobody starves, and little is said.

What each kind is counted as, to the packet: test_dataplane_badpackets.
"""

from collections.abc import Iterator

import pytest

from tests.netns import topo, traffic
from tests.netns.inject import Injector
from tests.netns.test_dataplane_badpackets import PAYLOAD, bad
from tests.netns.topo import Counting, Net

pytestmark = [pytest.mark.netns, pytest.mark.root]

SECONDS = 2.0
LINES = 3
"""Of the log for each kind: drops are told when they are first met, and once a minute."""


@pytest.fixture(scope="module")
def both() -> Iterator[Net]:
    with topo.built(families=(4, 6)) as net:
        yield net


@pytest.mark.parametrize("stranger", [False, True], ids=["a node's", "a stranger's"])
def test_a_flood_starves_nobody(net: Net, *, stranger: bool) -> None:
    """From a node that sends each kind of nonsense, or from a host that is no node."""
    counting, told, pod = Counting(net, 1), len(net.log(1)), net.pod(1)
    with (
        Injector(net, 1, stranger=stranger) as injector,
        traffic.tcp_load(net.pod(2).namespace, pod.namespace, net.address(pod)) as load,
    ):
        kinds = {counter for counter, _ in bad(net.family).values()}
        made = [make(injector) for _, make in bad(net.family).values()]
        if stranger:
            kinds, made = {"in_unknown_peer"}, [injector.encapsulated(injector.inner(PAYLOAD))]
        topo.wait_until(lambda: load.received > 0)
        begun = load.received
        sent = injector.flood(made, SECONDS)
        meanwhile = load.received - begun
        topo.wait_until(lambda: load.received > begun + traffic.MEGABYTE)
    counters = counting.at_rest()
    assert meanwhile > 0, "TCP went on"
    drops = topo.drops_of(counters)
    assert drops.keys() == kinds
    assert sum(drops.values()) <= sent
    topo.assert_balanced(counting.total_at_rest())
    assert len(net.log(1)) - told <= LINES * len(kinds)
