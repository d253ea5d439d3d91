# SPDX-License-Identifier: Apache-2.0
"""The table of a KubeSource follows the API server, whatever becomes of that.

Excluded: faults of single requests (test_kube_faults.py), what Nodes mean (test_nodelease.py), our
own Node (test_kube_node.py).
"""

import asyncio
import json
import random
from typing import Any

import msgspec
import pytest

from fwd.core.lines import LineSplitter
from fwd.core.nodetable import NodeTable
from fwd.core.nodewire import Node
from fwd.lab.apiserver.watching import Timing
from fwd.sources import kubeapi
from fwd.sources.kubeapi import KubeApi, Patience
from fwd.sources.kubeclient import ApiAccess
from fwd.sources.kubewatch import NodeWatch, Pace
from tests.unit.in_family import EACH_FAMILY, said
from tests.unit.kube_member import (
    BOTH,
    EACH,
    RETURN_SECONDS,
    Families,
    agrees,
    event,
    member,
    nodes,
    of_each,
    settle,
    shake,
)
from tests.unit.kube_server import serving
from tests.unit.kube_support import decoder, node_in, recorded_lines


@EACH
async def test_a_list_in_pages_and_then_every_change(families: Families) -> None:
    async with (
        serving(*nodes(families)) as server,
        member(server, families=families, pace=Pace(page=1)) as ours,
    ):
        assert agrees(ours, server)
        assert len(ours.leases) == 4
        assert server.count("list") == 4
        for change in (
            {"public_ip": "192.168.9.9"},
            {"backend_data": '{"VNI":1,"VtepMAC":"02:00:00:00:00:99"}'},
            {"cidr": "10.244.99.0/24"},
            {"backend_type": "host-gw"},
            {"kube_subnet_manager": None},
            {},
        ):
            server.nodes.put(node_in(families, 2, **change))
            await settle(ours, server)
        server.nodes.delete("n3")
        server.nodes.put(node_in(families, 7))
        await settle(ours, server)
        assert set(ours.leases) == {"n1", "n2", "n4", "n7"}
        assert server.verbs() == {("list", "nodes"), ("watch", "nodes")}


@EACH
async def test_heartbeats_make_no_snapshot(families: Families) -> None:
    async with serving(*nodes(families)) as server, member(server, families=families) as ours:
        before = ours.count
        for beat in range(200):
            one = node_in(families, 2 + beat % 3)
            one["status"]["conditions"] = [{"type": "Ready", "lastHeartbeatTime": str(beat)}]
            server.nodes.put(one)
        server.nodes.put(node_in(families, 2, public_ip="192.168.9.9"))
        await settle(ours, server)
        assert ours.count == before + 1


async def test_a_watch_that_ends_in_time_goes_on_without_a_list() -> None:
    async with (
        serving(*nodes(BOTH), timing=Timing(second=0.2)) as server,
        member(server, families=BOTH, pace=Pace(watch_seconds=(4, 6)), patience=Patience()) as ours,
    ):
        for number in range(50):
            server.nodes.put(node_in(BOTH, 10 + number % 10, public_ip=f"192.168.7.{number}"))
            await asyncio.sleep(0.05)
        await settle(ours, server)
        assert server.count("watch") > 2
        assert server.count("list") == 1


async def test_a_watch_asks_for_bookmarks_and_an_end_as_client_go_does() -> None:
    """Of its own every watch has another end, so that they do not all come again at once."""
    async with serving(*nodes((4,))) as server:
        for _ in range(8):
            async with member(server) as ours:
                await ours.until("watch", lambda: server.watches)
            server.nodes.put(node_in((4,), 2))
        asked = [one.query for one in server.requests if one.verb == "watch"]
        assert {one["allowWatchBookmarks"] for one in asked} == {"true"}
        seconds = {int(one["timeoutSeconds"]) for one in asked}
        assert 300 <= min(seconds) < max(seconds) <= 600
        versions = [int(one["resourceVersion"]) for one in asked]
        assert versions == sorted(versions)


async def test_a_server_that_is_away_changes_nothing_until_it_is_back() -> None:
    async with serving(*nodes(BOTH)) as server, member(server, families=BOTH) as ours:
        before = ours.leases
        await server.stop()
        server.nodes.delete("n2")
        server.nodes.put(node_in(BOTH, 3, public_ip="192.168.9.9"))
        server.nodes.put(node_in(BOTH, 8))
        await ours.until("noticed", lambda: ours.source.state().standing == "away")
        await asyncio.sleep(1)
        assert ours.leases == before
        await server.start()
        await settle(ours, server)
        assert ours.source.state().standing == "watching"


@EACH
async def test_a_restarted_server_whose_watch_cache_begins_later(families: Families) -> None:
    async with serving(*nodes(families)) as server, member(server, families=families) as ours:
        await server.stop()
        server.nodes.put(node_in(families, 3, public_ip="192.168.9.9"))
        server.nodes.restart()
        await server.start()
        await settle(ours, server)


async def test_a_restored_backup_is_the_truth_though_it_is_older() -> None:
    """A watch from the future is silence, not even a bookmark (recorded)."""
    timing = Timing(second=0.02)
    async with serving(*nodes(BOTH), timing=timing) as server:
        backup = server.nodes.save()
        async with member(server, families=BOTH) as ours:
            for number in range(2, 5):
                server.nodes.put(node_in(BOTH, number, public_ip=f"192.168.9.{number}"))
            await settle(ours, server)
            await server.stop()
            server.nodes.restore(backup)
            await server.start()
            await settle(ours, server)


@EACH
async def test_unknown_events_and_empty_lines_are_passed_over(families: Families) -> None:
    async with serving(*nodes(families)) as server, member(server, families=families) as ours:
        await server.play(
            b"\n\n",
            b'{"type":"FUTURE","object":{}}\n',
            b"not json\n",
            event("MODIFIED", node_in(families, 2, version=9999, public_ip="192.168.9.9")),
        )
        await ours.until("the good one", lambda: ours.at("n2") == of_each(families, "192.168.9.9"))


async def test_a_minute_of_events_twice_and_shuffled() -> None:
    dice = random.Random(7)
    async with serving(*nodes(BOTH)) as server, member(server, families=BOTH) as ours:
        for _ in range(60):
            shake(server, dice)
        twice = server.replay() * 2
        dice.shuffle(twice)
        await settle(ours, server)
        await server.play(*twice)
        server.nodes.put(node_in(BOTH, 2, public_ip="192.168.8.8"))
        await settle(ours, server)


HUGE = node_in(BOTH, 3, annotations={"a/b": "x" * (10 << 20)})
DEEP = node_in(BOTH, 3)
DEEP["metadata"]["managedFields"] = msgspec.Raw(b"[" * 100_000 + b"]" * 100_000)


@pytest.mark.parametrize("hostile", [HUGE, DEEP], ids=["ten megabytes", "nested deeply"])
async def test_an_object_that_cannot_be_read_is_refused_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch, hostile: dict[str, Any]
) -> None:
    monkeypatch.setattr(kubeapi, "PAGE_LIMIT", 1 << 20)
    async with serving(*nodes(BOTH)) as server, member(server, families=BOTH) as ours:
        server.nodes.put(hostile)
        await ours.until("refused", lambda: "n3" not in ours.leases)
        assert ours.last is not None
        assert [refusal.node for refusal in ours.last.refused] == ["n3"]
        server.nodes.put(node_in(BOTH, 4, public_ip="192.168.9.9"))
        await ours.until("n4", lambda: ours.at("n4") == of_each(BOTH, "192.168.9.9"))
        await server.stop()
        server.nodes.put(node_in(BOTH, 6))
        server.nodes.compact()  # now it comes in a list
        await server.start()
        await ours.until("n6", lambda: "n6" in ours.leases, RETURN_SECONDS)
        assert server.count("list") > 3, "the page was too long, and then shorter ones"
        assert [refusal.node for refusal in ours.last.refused] == ["n3"]
        server.nodes.put(node_in(BOTH, 3))
        await settle(ours, server)


async def test_a_recorded_watch_gives_what_was_recorded() -> None:
    async with serving(*nodes((4,))) as server, member(server) as ours:
        await server.play(*recorded_lines("watch-events"))
        await ours.until("node-00002", lambda: "node-00002" in ours.leases)
        assert str(ours.leases["node-00002"].public_ip) == "192.168.50.2"


@EACH_FAMILY
def test_a_recorded_watch_cut_at_every_byte_ends_in_the_same_table(family: int) -> None:
    """The watch after the cut goes on from the version that the cut one had come to."""
    lines = [as_if_of(family, line) for line in recorded_lines("watch-events")]
    stream = b"".join(lines)
    versions = [int(json.loads(line)["object"]["metadata"]["resourceVersion"]) for line in lines]
    whole = told(stream, family)
    assert [lease.node for lease in whole.leases()] == ["node-00002"]
    for offset in range(len(stream) + 1):
        table = NodeTable(families=[family], vni=1)
        watch = idle_watch(table)
        watch._take_all(LineSplitter().feed(stream[:offset]))
        version = int(watch._position or 0)
        rest = [line for line, one in zip(lines, versions, strict=True) if one > version]
        watch._take_all(LineSplitter().feed(b"".join(rest)))
        assert known(table) == known(whole), f"cut after {offset} bytes"
        assert watch._position == str(versions[-1])


def known(table: NodeTable) -> list[Node | None]:
    return [table.node(f"node-{number:05}") for number in range(1, 5)]


def as_if_of(family: int, line: bytes) -> bytes:
    """A recorded line of an IPv4 cluster."""
    return json.dumps(said(family, json.loads(line))).encode() + b"\n"


def told(stream: bytes, family: int) -> NodeTable:
    table = NodeTable(families=[family], vni=1)
    idle_watch(table)._take_all(LineSplitter().feed(stream))
    return table


def idle_watch(table: NodeTable) -> NodeWatch:
    """One that has no connection: the test gives it what comes."""
    return NodeWatch(
        KubeApi(ApiAccess()),
        decoder,
        table,
        pace=Pace(),
        heard=lambda: None,
        changed=lambda: None,
    )
