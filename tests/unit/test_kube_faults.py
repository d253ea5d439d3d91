# SPDX-License-Identifier: Apache-2.0
"""A KubeSource against an API server that does not always do what it should.

After each fault the table must be the truth again, within the time that retries may take.
"""

import asyncio
import logging
import random
from typing import Any

import pytest

from fwd.lab.apiserver.access import ANONYMOUS
from fwd.lab.apiserver.faults import Answer, Cut, Expire, How, Unit
from fwd.sources import contact
from fwd.sources.contact import ServerError
from fwd.sources.kubewatch import NodeWatch, Pace
from fwd.sources.repairs import REPAIR_BURST
from tests.unit.endless_rounds import end_rounds
from tests.unit.kube_member import (
    BOTH,
    EACH,
    WAIT_SECONDS,
    Families,
    Truth,
    agrees,
    event,
    member,
    nodes,
    settle,
    shake,
    source,
    truth,
    until,
)
from tests.unit.kube_server import Server, serving
from tests.unit.kube_support import node_in


@pytest.mark.parametrize("verb", ["list", "watch"])
@pytest.mark.parametrize(
    "effect",
    [
        Answer(429, retry_after=1),
        Answer(429),
        Answer(500),
        Answer(503, retry_after=1),
        Answer(504),
        Answer(401),
        Expire(),
        Cut(0, How.RESET),
        Cut(0, How.FIN),
        Cut(0, How.SILENCE),
        Cut(100, How.FIN),
        Cut(400, How.RESET),
        Cut(40, How.SILENCE, Unit.BODY),
    ],
    ids=str,
)
async def test_one_fault_and_then_the_truth(verb: str, effect: Any) -> None:  # noqa: ANN401
    async with serving(*nodes(BOTH)) as server, member(server, families=BOTH) as ours:
        await ours.until("watching", lambda: server.count("watch") == 1)
        server.fault(effect, verb=verb)
        await server.stop()  # so that it must come again
        server.nodes.put(node_in(BOTH, 3, public_ip="192.168.9.9"))
        if verb == "list":
            server.nodes.compact()
        await server.start()
        await settle(ours, server)
        assert not server.faults_left, "it happened"


async def test_retry_after_is_obeyed() -> None:
    async with serving(*nodes(BOTH)) as server, member(server, families=BOTH) as ours:
        await server.stop()
        server.fault(Answer(429, retry_after=2), verb="watch")
        await server.start()
        begin = asyncio.get_running_loop().time()
        await ours.until("refused", lambda: not server.faults_left)
        watches = server.count("watch")
        await ours.until("again", lambda: server.count("watch") > watches)
        assert asyncio.get_running_loop().time() - begin >= 2


async def test_a_missing_verb_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    async with serving(*nodes(BOTH)) as server, member(server, families=BOTH) as ours:
        server.access.revoke("watch", "nodes", user=ANONYMOUS)
        await server.stop()
        with caplog.at_level(logging.INFO):
            await server.start()
            await ours.until("said", lambda: "(403)" in caplog.text)
            await ours.until("asked again", lambda: server.count("watch") > 4)
        assert caplog.text.count("(403)") == 1
        assert 'lacks the verb \\"watch\\" for \\"nodes\\"' in caplog.text
        assert "cannot watch nodes" in ours.source.state().detail
        server.access.grant("watch", "nodes", user=ANONYMOUS)
        await settle(ours, server)


@EACH
async def test_an_error_event_in_mid_stream_is_a_new_list(families: Families) -> None:
    gone = (
        b'{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},'
        b'"status":"Failure","message":"too old","reason":"Expired","code":410}}\n'
    )
    async with serving(*nodes(families)) as server, member(server, families=families) as ours:
        await server.play(event("MODIFIED", node_in(families, 2, version=999)), gone)
        server.nodes.put(node_in(families, 3, public_ip="192.168.9.9"))
        await settle(ours, server)
        await ours.until("a list", lambda: server.count("list") == 2)


@EACH
async def test_an_error_event_of_another_code_is_tried_again(families: Families) -> None:
    broken = b'{"type":"ERROR","object":{"code":500,"message":"etcd is tired"}}\n'
    async with serving(*nodes(families)) as server, member(server, families=families) as ours:
        await server.play(broken)
        server.nodes.put(node_in(families, 3, public_ip="192.168.9.9"))
        await settle(ours, server)
        assert lists(server) == 1


def lists(server: Server) -> int:
    """Not the questions for one Node, which show how far the server has come."""
    return sum(one.verb == "list" and one.query["limit"] != "1" for one in server.requests)


@EACH
async def test_a_watch_that_ends_within_an_event_has_failed(
    caplog: pytest.LogCaptureFixture, families: Families
) -> None:
    whole = event("MODIFIED", node_in(families, 2, version=999, public_ip="192.168.9.9"))
    async with serving(*nodes(families)) as server:
        with caplog.at_level(logging.INFO):
            async with member(server, families=families) as ours:
                await server.play(whole[:-40])
                server.nodes.put(node_in(families, 3, public_ip="192.168.9.9"))
                await settle(ours, server)
        assert "the watch ended within an event" in caplog.text


@EACH
async def test_a_continue_token_that_expires_begins_a_new_list(families: Families) -> None:
    async with serving(*nodes(families)) as server:
        server.fault(Expire(), verb="list", skip=2)
        async with member(server, families=families, pace=Pace(page=1)) as ours:
            assert agrees(ours, server)
            assert server.count("list") == 3 + 4


HEADERS = 160
"""Bytes: an answer's, and its first chunk's size."""


def change(server: Server, turn: int) -> None:
    server.nodes.put(node_in(BOTH, 2, public_ip=f"192.168.{turn >> 8}.{turn & 255}"))


async def test_a_watch_cut_at_every_byte_of_its_stream() -> None:
    """Within a string every eighth; the next watch brings what the cut one did not."""
    async with serving(*nodes(BOTH)) as server, member(server, families=BOTH) as ours:
        watch = ours.source._watch
        await end_rounds(ours.source)
        change(server, 1000)
        end = HEADERS + max(map(len, server.replay()))
        offsets = [*range(HEADERS + 60), *range(HEADERS + 60, end - 60, 8)]
        offsets += range(end - 60, end + 60)
        for turn, offset in enumerate(offsets):
            change(server, turn)
            wanted = truth(server, BOTH)
            server.fault(Cut(offset, (How.FIN, How.RESET)[turn & 1]), verb="watch")
            async with asyncio.timeout(5):
                while server.faults_left or known(watch) != wanted:
                    await _one_round(watch, wanted)
        assert lists(server) < 10


async def _one_round(watch: NodeWatch, wanted: Truth) -> None:
    """Until it ends or has nothing more to learn."""
    task = asyncio.create_task(watch.round())
    while not task.done() and known(watch) != wanted:  # noqa: ASYNC110 - it has no event
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled() or isinstance(task.exception(), ServerError | None)


def known(watch: NodeWatch) -> Truth:
    return watch._table.leases(), watch._table.refusals()


@EACH
async def test_a_page_that_is_no_list_is_tried_again(families: Families) -> None:
    """Of a proxy in between, say."""
    answers = [b"<html>proxy</html>", b"[]"]

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = answers.pop(0)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()

    async with serving(*nodes(families)) as server:
        await server.stop()
        proxy = await asyncio.start_server(answer, *server.address)
        async with source(server, families=families) as made:
            await until(lambda: not answers)
            proxy.close()
            await server.start()
            first = await asyncio.wait_for(made.first(), WAIT_SECONDS)
        assert (first.leases, first.refused) == truth(server, families)


@EACH
async def test_a_repair_that_fails_is_no_fight(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, families: Families
) -> None:
    """Somebody undoes it once, while patches fail more often than repairs are allowed."""
    monkeypatch.setattr(contact, "RETRY_LONGEST_SECONDS", 0.2)
    async with serving(*nodes(families)) as server, member(server, families=families) as ours:
        wanted = server.annotations("n1")
        ours.announce()
        await ours.until("the condition", lambda: server.count("patch") == 1)
        server.fault(Answer(500), verb="patch", times=REPAIR_BURST + 1)
        with caplog.at_level(logging.INFO):
            server.change("n1", families, public_ip=None)
            await ours.until("put back", lambda: server.annotations("n1") == wanted)
            await ours.until("said", lambda: "annotations-repaired" in caplog.text)
        assert not server.faults_left
        assert caplog.text.count("annotations-repaired") == 1
        assert "annotations-fought-over" not in caplog.text


async def test_many_faults_and_changes_end_in_the_truth() -> None:
    dice = random.Random(1)
    async with serving(*nodes(BOTH)) as server, member(server, families=BOTH) as ours:
        for _ in range(15):
            effect = dice.choice(
                [Answer(500), Expire(), Cut(dice.randrange(900)), Cut(dice.randrange(900), How.FIN)]
            )
            server.fault(effect, verb=dice.choice(["list", "watch"]))
            for _ in range(dice.randrange(8)):
                shake(server, dice)
            await asyncio.sleep(dice.random() * 0.1)
        server.faults.clear()
        await settle(ours, server)
