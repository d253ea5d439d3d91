# SPDX-License-Identifier: Apache-2.0
"""Our own Node: what is written to it, kept there, and read from it.

Excluded: the annotations' texts (test_annotations.py), the wait for a subnet (test_kube_subnet.py),
the annotations of an operator (test_kube_operator.py).
"""

import asyncio
import logging
from datetime import UTC, datetime
from functools import partial
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from fwd.lab.apiserver.access import ANONYMOUS
from fwd.lab.apiserver.faults import Answer, Cut, How
from fwd.model import Lease
from fwd.sources.repairs import REPAIR_BURST
from tests.unit.in_family import said
from tests.unit.kube_member import BOTH, EACH, MAC, Families, Member, member, of_each, source
from tests.unit.kube_server import Server, serving
from tests.unit.kube_support import PREFIX, node_in, node_object

ADDRESS = {PREFIX + "public-ip": "192.168.0.1"}
LEASE = ADDRESS | {PREFIX + "backend-data": '{"VNI":1,"VtepMAC":"02:00:00:00:00:01"}'}


def bare(families: Families) -> dict[str, Any]:
    """A Node that no agent has been on."""
    return node_object(1, families=families, annotations={"other.example/x": "1"})


def published(families: Families) -> dict[str, str]:
    both = {PREFIX + "backend-type": "vxlan", PREFIX + "kube-subnet-manager": "true"}
    return both | {k: v for one in families for k, v in said(one, LEASE).items()}


def conditions(server: Server) -> dict[str, Any]:
    version = server.nodes.get("n1")
    assert version is not None
    return {one["type"]: one for one in version.decode()["status"]["conditions"]}


async def settled(ours: Member, server: Server) -> None:
    ours.announce()
    await ours.until("the condition", lambda: "NetworkUnavailable" in conditions(server))


@EACH
async def test_a_node_is_annotated_and_then_told_that_its_network_is_up(families: Families) -> None:
    """All families in one patch."""
    async with (
        serving(bare(families), node_object(2, families=families)) as server,
        member(server, families=families) as ours,
    ):
        await asyncio.sleep(0.1)
        assert server.count("patch") == 0, "nothing is promised before packets flow"
        await settled(ours, server)
        assert server.annotations("n1") == published(families) | {"other.example/x": "1"}
        up = conditions(server)["NetworkUnavailable"]
        assert (up["status"], up["reason"]) == ("False", "FlannelIsUp")
        assert up["message"] == "Flannel is running on this node"
        assert up["lastHeartbeatTime"] == up["lastTransitionTime"]
        stamp = datetime.strptime(up["lastHeartbeatTime"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        assert abs((datetime.now(UTC) - stamp).total_seconds()) < 60
        assert "Ready" in conditions(server), "the kubelet's conditions stay"
        assert server.count("patch") == 2
        assert server.verbs() == {("list", "nodes"), ("watch", "nodes"), ("patch", "nodes/status")}


@EACH
async def test_a_restart_writes_nothing_that_is_there_and_keeps_its_mac(families: Families) -> None:
    """flannel patches at every start of an IPv6-only node (spec 3.3)."""
    ours_before = node_object(1, families=families)
    async with serving(ours_before) as server, member(server, families=families) as ours:
        assert ours.last is not None
        macs = {one.vtep_mac for one in ours.last.own}
        assert macs == {bytes.fromhex("020000000001")}
        await settled(ours, server)
        assert server.count("patch") == 1, "the condition only"
        assert server.annotations("n1") == ours_before["metadata"]["annotations"]


@EACH
async def test_only_what_differs_is_written(families: Families) -> None:
    async with serving(node_in(families, 1, public_ip="192.168.9.9")) as server:
        async with member(server, families=families) as ours:
            await settled(ours, server)
        bodies = server.patches()
        written = {k: v for one in families for k, v in said(one, ADDRESS).items()}
        assert bodies[0] == {"metadata": {"annotations": written}}
        assert list(bodies[1]) == ["status"]


@EACH
async def test_network_unavailable_is_left_alone_if_so_told(families: Families) -> None:
    async with (
        serving(bare(families)) as server,
        member(server, families=families, set_node_network_unavailable=False) as ours,
    ):
        ours.announce()
        wanted = published(families).items()
        await ours.until("annotations", lambda: server.annotations("n1").items() >= wanted)
        await asyncio.sleep(0.1)
        assert server.count("patch") == 1


@pytest.mark.parametrize(
    "effect",
    [
        Answer(401),
        Answer(409),
        Answer(429, retry_after=1),
        Answer(500),
        Answer(504),
        Cut(0, How.RESET),
        Cut(0, How.SILENCE),
        Cut(60, How.FIN),
    ],
    ids=str,
)
async def test_what_fails_is_tried_again_until_it_is_in(effect: Any) -> None:  # noqa: ANN401
    async with serving(bare(BOTH)) as server, member(server, families=BOTH) as ours:
        server.fault(effect, verb="patch")
        if not isinstance(effect, Cut):  # of which the server knows nothing: it has done its part
            server.fault(effect, verb="patch", skip=1)
        await settled(ours, server)
        assert not server.faults_left
        assert server.annotations("n1") == published(BOTH) | {"other.example/x": "1"}


@EACH
async def test_what_does_not_get_in_is_in_the_status(families: Families) -> None:
    async with serving(bare(families)) as server, member(server, families=families) as ours:
        server.access.revoke("patch", "nodes/status", user=ANONYMOUS)
        ours.announce()
        await ours.until(
            "told",
            lambda: 'lacks the verb "patch" for "nodes/status"' in ours.source.state().detail,
        )
        assert ours.source.state().standing == "watching"
        server.access.grant("patch", "nodes/status", user=ANONYMOUS)
        await ours.until("published", lambda: "not published" not in ours.source.state().detail)


@pytest.mark.parametrize(
    "change",
    [
        {"public_ip": None},
        {"public_ip": "10.9.9.9"},
        {"backend_data": '{"VNI":1,"VtepMAC":"02:00:00:00:00:99"}'},
        {"backend_type": "host-gw"},
        {"kube_subnet_manager": "false"},
        {"public_ipv6": None},
        {"backend_v6_data": '{"VNI":1,"VtepMAC":"02:00:00:00:00:99"}'},
        dict.fromkeys(["public_ip", "backend_data", "backend_type", "kube_subnet_manager"]),
    ],
)
async def test_what_others_undo_is_put_back_and_said(
    change: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(bare(BOTH)) as server, member(server, families=BOTH) as ours:
        await settled(ours, server)
        assert ours.last is not None
        own, wanted = ours.last.own, published(BOTH)
        with caplog.at_level(logging.INFO):
            server.change("n1", **change)
            await ours.until("put back", lambda: server.annotations("n1").items() >= wanted.items())
            await ours.until("said", lambda: "annotations-repaired" in caplog.text)
        (line,) = [text for text in caplog.messages if "annotations-repaired" in text]
        for field in change:
            assert PREFIX + field.replace("_", "-") in line
        await asyncio.sleep(0.3)
        assert [one.vtep_mac for one in ours.last.own] == [MAC] * 2, "the Node follows us"
        assert [one.subnet for one in ours.last.own] == [one.subnet for one in own]


@EACH
async def test_who_keeps_undoing_it_wins_most_of_the_time(
    caplog: pytest.LogCaptureFixture, families: Families
) -> None:
    async with serving(bare(families)) as server, member(server, families=families) as ours:
        await settled(ours, server)
        patches = server.count("patch")

        def has_patched(times: int) -> bool:
            return server.count("patch") == times

        with caplog.at_level(logging.INFO):
            for number in range(1, REPAIR_BURST + 1):
                server.change("n1", families[:1], public_ip=None)
                await ours.until("repair", partial(has_patched, patches + number))
            server.change("n1", families[:1], public_ip=None)
            await ours.until("said", lambda: "annotations-fought-over" in caplog.text)
            await asyncio.sleep(0.3)
        assert server.count("patch") == patches + REPAIR_BURST
        assert caplog.text.count("annotations-fought-over") == 1


@EACH
async def test_a_node_that_is_made_anew_is_told_everything_again(families: Families) -> None:
    async with (
        serving(bare(families), node_in(families, 2)) as server,
        member(server, families=families) as ours,
    ):
        await settled(ours, server)
        before = ours.own
        server.nodes.delete("n1")
        await ours.until("noticed", lambda: ours.source.state().standing == "waiting")
        assert ours.source.state().detail == 'node "n1" is not in the cluster'
        server.nodes.put(node_in(families, 2, public_ip="192.168.9.9"))
        await ours.until("n2", lambda: ours.at("n2") == of_each(families, "192.168.9.9"))
        assert ours.own == before, "what forwards stays"
        anew = bare(families)
        anew["metadata"]["creationTimestamp"] = "2027-01-01T00:00:00Z"
        server.nodes.put(anew)
        await ours.until(
            "all of it",
            lambda: (
                "NetworkUnavailable" in conditions(server)
                and server.annotations("n1").items() >= published(families).items()
            ),
        )


@EACH
async def test_a_subnet_that_changes_is_a_new_own_lease(families: Families) -> None:
    async with (
        serving(bare(families), node_in(families, 2)) as server,
        member(server, families=families) as ours,
    ):
        await settled(ours, server)
        server.nodes.put(node_in(families, 1, cidr="10.244.77.0/24"))
        await ours.until("moved", lambda: ours.subnets == of_each(families, "10.244.77.0/24"))
        ours.announce()
        assert {one.vtep_mac for one in ours.own} == {MAC}
        server.nodes.put(node_in(families, 1, cidr="10.99.0.0/24"))
        await ours.until("waiting", lambda: ours.source.state().standing == "waiting")
        assert ours.subnets == of_each(families, "10.244.77.0/24"), "the last good word holds"


@EACH
async def test_another_prefix_is_written_and_read(families: Families) -> None:
    peer, stock = node_in(families, 2), node_in(families, 3)
    theirs = peer["metadata"]["annotations"].items()
    peer["metadata"]["annotations"] = {k.replace(PREFIX, "a.b/c-"): text for k, text in theirs}
    async with (
        serving(bare(families), peer, stock) as server,
        member(server, families=families, annotation_prefix="a.b/c") as ours,
    ):
        assert set(ours.leases) == {"n2"}
        await settled(ours, server)
        wanted = {k.replace(PREFIX, "a.b/c-"): text for k, text in published(families).items()}
        assert server.annotations("n1") == wanted | {"other.example/x": "1"}


@EACH
async def test_begun_from_a_saved_state_the_lease_is_kept_until_the_node_says_more(
    families: Families,
) -> None:
    async with (
        serving(node_in(families, 1, cidr=""), node_in(families, 2)) as server,
        source(server, families=families) as made,
    ):
        ours = Member(made)
        lease = Lease("n1", ip_network("10.244.9.0/24"), ip_address("192.168.0.1"), MAC, 1)
        made.announce(tuple(said(family, lease) for family in families))
        task = asyncio.create_task(ours.follow())
        await ours.until("peers", lambda: "n2" in ours.leases)
        assert ours.subnets == set(), "the Node has said nothing of them"
        server.nodes.put(node_in(families, 1))
        await ours.until("the Node's", lambda: ours.subnets == of_each(families, "10.244.1.0/24"))
        assert {one.vtep_mac for one in ours.own} == {MAC}
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
