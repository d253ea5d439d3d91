# SPDX-License-Identifier: Apache-2.0
"""A proxy's words in the middle of an answer: aiohttp says nothing of them, or in no error of its.

With its parser in C whoever reads the body waits, without a time limit and without a connection;
the one in Python, where there is no compiled one, says so in an exception that is no ClientError.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp.client_proto
import aiohttp.http_parser
import pytest

from fwd.lab.apiserver.faults import Cut, How, Unit
from fwd.sources.kubeapi import KubeApi, Patience, Unreachable
from fwd.sources.kubeclient import ApiAccess
from tests.unit.kube_member import BOTH, member, nodes, settle
from tests.unit.kube_server import serving
from tests.unit.kube_support import node_in, node_object

GARBAGE = Cut(60, How.GARBAGE, Unit.BODY)
PATIENCE = Patience(connect=1.0, answer=0.3, silence=0.6)
LIMIT = 5.0
LARGE = {"metadata": {"annotations": {"a/b": "x" * 5000}}}
"""So that the answer to it comes in chunks."""


@pytest.fixture(params=["C", "Python"], autouse=True)
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "Python":
        plain = aiohttp.http_parser.HttpResponseParserPy
        monkeypatch.setattr(aiohttp.client_proto, "HttpResponseParser", plain)


async def watched(api: KubeApi) -> None:
    async with api.watch("100", seconds=60) as chunks:
        async for _ in chunks:
            pass


@pytest.mark.parametrize(
    ("verb", "ask"),
    [
        ("get", lambda api: api.node("n1")),
        ("list", lambda api: api.page(limit=100)),
        ("watch", watched),
        ("patch", lambda api: api.patch_status("n1", LARGE)),
    ],
    ids=["get", "list", "watch", "patch"],
)
async def test_it_ends_the_answer(verb: str, ask: Callable[[KubeApi], Awaitable[Any]]) -> None:
    objects = [node_object(number) for number in range(1, 9)]
    objects[0]["metadata"]["annotations"] |= LARGE["metadata"]["annotations"]
    async with serving(*objects) as server:
        api = KubeApi(ApiAccess(url=server.url), patience=PATIENCE)
        server.fault(GARBAGE, verb=verb)
        with pytest.raises(Unreachable, match=r"is silent|broke off"):
            await asyncio.wait_for(ask(api), LIMIT)
        assert not server.faults_left
        assert b'"n1"' in await api.node("n1"), "the next request is well"
        await api.close()


async def test_it_ends_the_answer_of_who_was_busy_when_it_came() -> None:
    """And begins to wait when the connection is closed."""

    async def watch() -> None:
        async with api.watch("100", seconds=60) as chunks:
            server.nodes.put(node_object(2))
            async for _ in chunks:
                await asyncio.sleep(PATIENCE.answer)

    async with serving(node_object(1)) as server:
        api = KubeApi(ApiAccess(url=server.url), patience=PATIENCE)
        server.fault(GARBAGE, verb="watch")
        with pytest.raises(Unreachable, match=r"was closed|broke off"):
            await asyncio.wait_for(watch(), LIMIT)
        assert not server.faults_left
        await api.close()


@pytest.mark.parametrize("verb", ["list", "watch", "patch"])
async def test_and_then_the_truth(verb: str) -> None:
    first, *others = nodes(BOTH)
    first["metadata"]["annotations"] |= LARGE["metadata"]["annotations"]
    async with serving(first, *others) as server, member(server, families=BOTH) as ours:
        await ours.until("watching", lambda: server.count("watch") == 1)
        server.fault(GARBAGE, verb=verb)
        await server.stop()
        server.nodes.put(node_in(BOTH, 3, public_ip="192.168.9.9"))
        if verb == "list":
            server.nodes.compact()
        await server.start()
        ours.announce()
        await ours.until("it happened", lambda: not server.faults_left)
        await ours.until("published", lambda: server.count("patch") >= 1 + (verb == "patch"))
        server.nodes.put(node_in(BOTH, 4, public_ip="192.168.9.9"))
        await settle(ours, server)
