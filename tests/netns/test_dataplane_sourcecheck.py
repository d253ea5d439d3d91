# SPDX-License-Identifier: Apache-2.0
"""--source-check: which inner sources are delivered from a node's address and a stranger's."""

from collections.abc import Iterator
from functools import partial
from typing import Final

import pytest

from tests.netns import topo, traffic
from tests.netns.inject import Injector
from tests.netns.topo import Counting, Net, wait_until

pytestmark = [pytest.mark.netns, pytest.mark.root]

PORT = 7777
OWN, FOREIGN = 3, 2  # Pods of node 3, from which is sent, and of node 2

# (mode, from a stranger's address, node of the inner source) -> the drop, None: delivered
CASES: Final = {
    ("strict", False, OWN): None,
    ("strict", False, FOREIGN): "in_spoofed_source",
    ("strict", True, OWN): "in_unknown_peer",
    ("loose", False, OWN): None,
    ("loose", False, FOREIGN): None,
    ("loose", True, OWN): "in_unknown_peer",
    ("off", False, FOREIGN): None,
    ("off", True, OWN): None,
    ("off", True, FOREIGN): None,
}


@pytest.fixture(scope="module")
def both() -> Iterator[Net]:
    with topo.built(families=(4, 6)) as net:
        yield net


def has_come(counting: Counting, packets: int) -> bool:
    return counting.now()["in_packets"] >= packets


@pytest.mark.parametrize("mode", ["strict", "loose", "off"])
def test_source_check(net: Net, mode: str) -> None:
    net.restart(1, "--source-check", mode)
    assert net.status(1).source_check == mode
    for (of_mode, stranger, source), drop in CASES.items():
        if of_mode != mode:
            continue
        counting = Counting(net, 1)
        with (
            net.udp_in(net.pod(1).namespace, PORT) as server,
            Injector(net, 1, stranger=stranger) as injector,
        ):
            packet = injector.inner(b"x" * 50, port=PORT, source=net.address(net.pod(source)))
            injector.send(injector.encapsulated(packet), 20)
            if drop is None:
                traffic.assert_same(traffic.receive(server, 20), [b"x" * 50] * 20)
        # A stranger's first datagram waits until its neighbour is known.
        wait_until(partial(has_come, counting, 20))
        wanted = {} if drop is None else {drop: 20}
        assert topo.drops_of(counting.at_rest()) == wanted, (stranger, source)
