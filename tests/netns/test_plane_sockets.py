# SPDX-License-Identifier: Apache-2.0
"""Room of a plane's sockets: what a scheduler keeps a worker from reading must not be lost.

docs/decisions/performance.md has the figures; nothing else would show a smaller buffer.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from ipaddress import ip_address

import pytest

from fwd.plane import Descriptors, PlaneSettings
from fwd.plane.opening import open_descriptors
from tests.netns.agent_support import EACH_FAMILY, FACTS
from tests.netns.names import own
from tests.netns.namespace import Namespace, wait_for
from tests.netns.sockets import KERNELS, af_of, call_in, is_deaf, memory, open_in

pytestmark = [pytest.mark.netns, pytest.mark.root, EACH_FAMILY]

MB = 1 << 20


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    made = Namespace(own("room"))
    yield made
    made.remove()


def opened(namespace: Namespace, family: int, workers: int) -> Descriptors:
    facts = FACTS[family]
    settings = PlaneSettings(
        device=facts.device,
        family=family,
        mac=b"\2\0\0\0\0\1",
        local=ip_address(facts.loopback),
        vni=1,
        port=8472,
        mtu=facts.mtu,
        workers=workers,
    )
    return call_in(namespace.name, lambda: open_descriptors(settings))


@pytest.mark.parametrize(
    ("workers", "each"), [(1, 16 * MB), (2, 8 * MB), (3, 16 * MB // 3), (4, 4 * MB), (9, 4 * MB)]
)
def test_sixteen_megabytes_together_and_four_at_least(
    namespace: Namespace, family: int, workers: int, each: int
) -> None:
    descriptors = opened(namespace, family, workers)
    with ExitStack() as stack:
        listen, source = (
            [stack.enter_context(socket.socket(fileno=one)) for one in some]
            for some in (descriptors.listen, descriptors.source)
        )
        for one in descriptors.tun:
            stack.callback(os.close, one)
        assert [memory(one).receive_buffer for one in listen] == [KERNELS * each] * workers
        assert [memory(one).send_buffer for one in source] == [KERNELS * 4 * MB] * 16
        stranger = stack.enter_context(
            open_in(namespace.name, af_of(FACTS[family].loopback), socket.SOCK_DGRAM)
        )
        assert all(is_deaf(one, stranger) for one in source)
        stranger.sendto(b"anything", listen[0].getsockname())
        wait_for("it is heard", lambda: any(memory(one).waiting for one in listen))
