# SPDX-License-Identifier: Apache-2.0
"""That TCP between Pods is cubic's from the first segment on, whoever wired them."""

import socket
from collections.abc import Iterator

import pytest

from fwd.lab import congestion, netns, steps
from fwd.lab.familyplan import FAMILY_PLANS
from fwd.lab.topology import Wiring
from tests.netns.agent_support import EACH_FAMILY
from tests.netns.lab_support import Lab, own_lab, require
from tests.netns.sockets import af_of, open_in
from tests.unable import leave_out

pytestmark = [pytest.mark.netns, pytest.mark.root]

KERNEL = ("--source", "static", "--nodes", "0", "--kernel-nodes", "2", "--family", "dual")


@pytest.fixture(scope="module", params=[wiring.value for wiring in Wiring])
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    require(fwd=False)
    if not congestion.has_cubic():
        leave_out("needs cubic")
    for lab in own_lab("lc"):
        up = lab.run("up", *KERNEL, "--wiring", request.param)
        assert up.returncode == 0, up.stderr
        # Which every namespace may take and nobody chooses.
        reno = steps.Step(steps.Tool.SYSCTL, "net/ipv4/tcp_congestion_control=reno")
        for node in (1, 2):
            netns.apply(f"{lab.prefix}-n{node}-p1", [reno])
        yield lab


def control(sock: socket.socket) -> str:
    name = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16)
    return name.rstrip(b"\0").decode()


@EACH_FAMILY
def test_both_ends_of_a_connection_have_it(lab: Lab, family: int) -> None:
    address = str(FAMILY_PLANS[family].pod(2, 1).ip)
    source, target = (
        open_in(f"{lab.prefix}-n{node}-p1", af_of(address), socket.SOCK_STREAM) for node in (1, 2)
    )
    with source, target:
        target.bind((address, 0))
        target.listen()
        source.connect((address, target.getsockname()[1]))
        accepted, _ = target.accept()
        with accepted:
            assert [control(end) for end in (source, accepted)] == ["cubic", "cubic"]
