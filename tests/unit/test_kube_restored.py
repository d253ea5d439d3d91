# SPDX-License-Identifier: Apache-2.0
"""A restored backup that nobody told us of: the server's next change has a version beyond ours.

Excluded: one that stays behind until we have waited long enough (test_kube_watch.py).
"""

from typing import Any, NoReturn, cast

import pytest

from fwd.core.nodetable import NodeTable
from fwd.lab.apiserver.faults import Answer, Cut
from fwd.sources.kubeapi import KubeApi, Patience, Unreachable
from fwd.sources.kubewatch import NodeWatch, Pace
from tests.unit.kube_member import BOTH, event, member, nodes, of_each, settle
from tests.unit.kube_server import serving
from tests.unit.kube_support import decoder, node_in


@pytest.mark.parametrize("at_first", [None, Answer(503), Cut(300)], ids=str)
async def test_a_restored_backup_is_the_truth_though_it_overtakes_us(
    at_first: Any,  # noqa: ANN401
) -> None:
    """Before a silence shows it; whatever becomes of our first question."""
    async with (
        serving(*nodes(BOTH)) as server,
        member(server, families=BOTH, patience=Patience()) as ours,
    ):
        backup = server.nodes.save()
        server.nodes.put(node_in(BOTH, 5))
        server.nodes.put(node_in(BOTH, 2, public_ip="192.168.9.2"))
        await settle(ours, server)
        if at_first is not None:
            server.fault(at_first, verb="list")
        watches = server.count("watch")
        server.restore(backup)
        await ours.until("back", lambda: server.count("watch") > watches)
        server.nodes.advance(100)
        server.nodes.put(node_in(BOTH, 3, public_ip="192.168.9.3"))
        await settle(ours, server)
        assert "n5" not in ours.leases
        assert ours.at("n2") == of_each(BOTH, "192.168.0.2")


@pytest.mark.parametrize("code", [429, 503])
async def test_a_backup_that_is_restored_behind_a_refusal(code: int) -> None:
    """A proxy's, or of a server that goes: after a watch that ended in order."""
    async with (
        serving(*nodes(BOTH)) as server,
        member(server, families=BOTH, patience=Patience()) as ours,
    ):
        backup = server.nodes.save()
        server.nodes.put(node_in(BOTH, 5))
        await settle(ours, server)
        server.fault(Answer(code, retry_after=1), verb="watch")
        watches = server.count("watch")
        await server.play(event("MODIFIED", node_in(BOTH, 3, version=server.nodes.revision)))
        await ours.until("refused", lambda: not server.faults_left)
        server.restore(backup)
        await ours.until("back", lambda: server.count("watch") == watches + 2)
        server.nodes.advance(100)
        server.nodes.put(node_in(BOTH, 3, public_ip="192.168.9.3"))
        await settle(ours, server)
        assert "n5" not in ours.leases


class Scripted:
    """An API server of empty lists, whose watches break."""

    def __init__(self, *versions: str) -> None:
        self._versions = iter(versions)
        self.limits: list[int] = []

    async def page(self, *, limit: int, token: str = "") -> bytearray:
        assert not token
        self.limits.append(limit)
        version = next(self._versions)
        return bytearray(b'{"metadata":{"resourceVersion":"%s"}}' % version.encode())

    def watch(self, version: str, *, seconds: int) -> NoReturn:
        raise Unreachable(f"no watch from {version} for {seconds} s")


@pytest.mark.parametrize(
    ("known", "found", "is_older"),
    [
        ("10", "9", True),
        ("9", "9", False),
        ("9", "10", False),
        ("10", "x", False),
        ("x", "9", False),
        ("10", "", False),
    ],
)
async def test_a_list_follows_a_broken_watch_only_if_the_server_is_behind(
    known: str,
    found: str,
    is_older: bool,  # noqa: FBT001
) -> None:
    api = Scripted(known, found, found)
    watch = NodeWatch(
        cast("KubeApi", api),
        decoder,
        NodeTable(families=[4], vni=1),
        pace=Pace(),
        heard=lambda: None,
        changed=lambda: None,
    )
    for _ in range(2):
        with pytest.raises(Unreachable):
            await watch.round()
    assert api.limits == [Pace().page, 1] + [Pace().page] * is_older
    assert watch._position == (found if is_older else known)
