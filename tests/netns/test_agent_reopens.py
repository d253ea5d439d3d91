# SPDX-License-Identifier: Apache-2.0
"""A running agent that cannot make its device anew goes on with what it has, and tries again.

Excluded: when it does (tests/unit/test_forwarder.py), buffers by workers (test_plane_sockets.py).
"""

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.netns.agent_support import EACH_FAMILY, FACTS
from tests.netns.dual_support import Dual, forwarding
from tests.netns.sockets import KERNELS, af_of, is_deaf, memory, open_in, udp_sockets

pytestmark = [pytest.mark.netns, pytest.mark.root]

PORT, MB = 8472, 1 << 20


@pytest.fixture(scope="module")
def dual(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dual]:
    with forwarding(tmp_path_factory.mktemp("reopens")) as made:
        yield made


@EACH_FAMILY
def test_a_device_of_somebody_elses_has_the_name(dual: Dual, family: int) -> None:
    cluster, agent = dual
    node, facts, other = cluster.n1, FACTS[family], FACTS[10 - family]
    assert cluster.reaches(node, "n2")
    down, restored = (len(agent.lines(event)) for event in ("tunnel-down", "tunnel-restored"))
    os.kill(agent.pid, signal.SIGSTOP)  # else it would be quicker
    try:
        node.ip("link", "del", facts.device)
        node.ip("link", "add", facts.device, "type", "bridge")
    finally:
        os.kill(agent.pid, signal.SIGCONT)
    line = agent.says("tunnel-down", times=down + 1)
    assert f'error="{facts.device} exists and is a bridge device: rename or remove it"' in line
    assert line.endswith(" again-in-seconds=1.0")
    assert node.pings(other.tunnel_ip("n2"))
    assert not node.pings(facts.tunnel_ip("n2"))
    assert agent.tunnel(family)["counters"]["out_packets"] > 0, "totals stay"
    (link,) = node.show("link", "show", facts.device)
    assert link["linkinfo"]["info_kind"] == "bridge", "it is not ours to remove"
    node.ip("link", "del", facts.device)
    line = agent.says("tunnel-restored", times=restored + 1)
    assert line.endswith(f" device={facts.device} leases=1")
    assert cluster.reaches(node, "n2")


@EACH_FAMILY
def test_its_sockets_have_room_and_those_that_send_are_deaf(dual: Dual, family: int) -> None:
    """Also such as were made anew, by an agent that has given up its rights."""
    cluster, agent = dual
    facts = FACTS[family]
    there = facts.underlay("n1")
    with ExitStack() as stack:
        found = [stack.enter_context(one) for one in udp_sockets(agent.pid, af_of(there))]
        listen = [one for one in found if one.getsockname()[:2] == (there, PORT)]
        source = [one for one in found if one not in listen]
        assert [memory(one).receive_buffer for one in listen] == [8 * MB * KERNELS] * 2
        assert [memory(one).send_buffer for one in source] == [4 * MB * KERNELS] * 16
        stranger = stack.enter_context(open_in(cluster.n1.name, af_of(there), socket.SOCK_DGRAM))
        assert all(is_deaf(one, stranger) for one in source)
