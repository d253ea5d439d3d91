# SPDX-License-Identifier: Apache-2.0
"""What can befall the stand-in, seen from a raw socket: a client library would hide the bytes."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from fwd.lab import clusternodes
from fwd.lab.apiserver.access import TOKEN
from fwd.lab.apiserver.faults import Answer, Cut, Delay, Expire, Fault, How, Stop, Unit
from fwd.lab.apiserver.server import ApiServer
from fwd.lab.apiserver.watching import Timing
from fwd.lab.apiserver.wire import Connection

LIMIT = 5.0  # seconds: everything here takes milliseconds
QUIET = 0.1  # seconds in which nothing comes

LIST = "/api/v1/nodes"
WATCH = "/api/v1/nodes?watch=true&resourceVersion=0"


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    async with asyncio.timeout(30), ApiServer(clusternodes.nodes(3)) as server:
        yield server


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self._writer = writer

    async def ask(self, path: str, *, token: str = TOKEN) -> None:
        head = f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n"
        self._writer.write(head.encode())
        await self._writer.drain()

    async def answer(self) -> tuple[int, dict[str, str], Any]:
        """A whole answer: status, headers, JSON."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in head[1:] if line)
        if "Content-Length" in headers:
            body = await self.reader.readexactly(int(headers["Content-Length"]))
        else:
            body = b""
            while chunk := await self.chunk():
                body += chunk
        return int(head[0].split()[1]), headers, json.loads(body)

    async def chunk(self) -> bytes:
        size = int(await self.reader.readuntil(b"\r\n"), 16)
        return (await self.reader.readexactly(size + 2))[:-2]

    async def begin_watch(self, path: str = WATCH) -> None:
        """Open a watch and take the three Nodes that are there."""
        await self.ask(path)
        await self.reader.readuntil(b"\r\n\r\n")
        lines = b""
        while lines.count(b"\n") < 3:
            lines += await self.chunk()

    async def rest(self) -> tuple[bytes, bool]:
        """All bytes until the end, and whether that was a reset."""
        got = b""
        async with asyncio.timeout(LIMIT):
            try:
                while data := await self.reader.read(1 << 16):
                    got += data
            except ConnectionResetError:
                return got, True
        return got, False

    async def silent(self) -> bool:
        """Whether nothing comes, not even an end."""
        try:
            await asyncio.wait_for(self.reader.read(1), QUIET)
        except TimeoutError:
            return True
        return False


@contextlib.asynccontextmanager
async def connected(server: ApiServer) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection(*server.address, limit=1 << 26)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()


@pytest.fixture
async def client(server: ApiServer) -> AsyncIterator[Client]:
    async with connected(server) as client:
        yield client


async def whole(server: ApiServer, path: str) -> bytes:
    """The bytes of an answer, as a connection that stays open has them."""
    async with connected(server) as client:
        await client.ask(path)
        got = b""
        while not got.endswith(b"0\r\n\r\n"):
            got += await client.reader.read(1 << 16)
        return got


@pytest.mark.parametrize("how", [How.RESET, How.FIN])
@pytest.mark.parametrize("after", [0, 1, 16, 200, 5000, 20000])
async def test_a_cut_is_after_exactly_so_many_bytes(
    server: ApiServer, client: Client, how: How, after: int
) -> None:
    expected = await whole(server, LIST)
    assert len(expected) > 20000
    server.faults.add(Fault(Cut(after, how)))
    await client.ask(LIST)
    got, reset = await client.rest()
    dateless = slice(0, 40)
    assert len(got) == after
    assert got[dateless] == expected[: min(after, 40)]
    assert reset == (how is How.RESET)


@pytest.mark.parametrize("after", [0, 1, 9_000, 15_000])
async def test_a_cut_can_count_the_body_alone(
    server: ApiServer, client: Client, after: int
) -> None:
    server.faults.add(Fault(Cut(after, How.FIN, Unit.BODY), verb="watch"))
    await client.ask(WATCH)
    await client.reader.readuntil(b"\r\n\r\n")
    body = b""
    with contextlib.suppress(asyncio.IncompleteReadError):
        while True:
            body += await client.chunk()
    assert len(body) == after


async def test_silence_sends_so_many_bytes_and_stays_open(
    server: ApiServer, client: Client
) -> None:
    server.faults.add(Fault(Cut(100, How.SILENCE)))
    await client.ask(LIST)
    await client.reader.readexactly(100)
    assert await client.silent()


async def test_freeze_holds_watches_and_new_connections_until_thaw(
    server: ApiServer, client: Client
) -> None:
    await client.begin_watch()
    server.freeze()
    server.delete_node("node-00001")
    async with connected(server) as other:
        await other.ask(LIST)
        assert await client.silent()
        assert await other.silent()
        server.thaw()
        assert b"DELETED" in await client.chunk()
        assert (await other.answer())[0] == 200


async def test_a_frozen_watch_does_not_pile_up(server: ApiServer, client: Client) -> None:
    await client.begin_watch()
    server.freeze()
    for number in range(200):
        server.patch_node("node-00001", {"metadata": {"labels": {"n": str(number)}}})
        await asyncio.sleep(0)
    assert server._server is not None
    (connection,) = server._server.connections
    assert isinstance(connection, Connection)
    assert connection.wire is not None
    held = sum(len(data) for data in connection.wire._held or [])
    assert 0 < held < 1 << 20


async def test_429_has_retry_after(server: ApiServer, client: Client) -> None:
    server.faults.add(Fault(Answer(429, retry_after=7), times=1))
    await client.ask(LIST)
    status, headers, body = await client.answer()
    assert (status, headers["Retry-After"], body["reason"]) == (429, "7", "TooManyRequests")
    await client.ask(LIST)
    assert (await client.answer())[0] == 200


async def test_faults_hit_whom_they_are_meant_for(server: ApiServer, client: Client) -> None:
    server.faults.add(Fault(Answer(500), verb="list", skip=1, times=2))
    server.faults.add(Fault(Answer(503), verb="get", name="node-00001", times=None))
    server.faults.add(Fault(Answer(504), peer="192.0.2.1", times=None))
    statuses = []
    for path in [LIST, LIST, LIST, LIST, f"{LIST}/node-00000", f"{LIST}/node-00001"]:
        await client.ask(path)
        statuses.append((await client.answer())[0])
    assert statuses == [200, 500, 500, 200, 200, 503]
    assert [seen.status for seen in server.requests] == statuses
    server.faults.clear()
    await client.ask(f"{LIST}/node-00001")
    assert (await client.answer())[0] == 200


async def test_a_delay_comes_before_another_fault(server: ApiServer, client: Client) -> None:
    server.faults.add(Fault(Delay(QUIET * 2)))
    server.faults.add(Fault(Answer(500)))
    await client.ask(LIST)
    assert await client.silent()
    assert (await client.answer())[0] == 500


async def test_the_next_watch_is_expired_with_200(server: ApiServer, client: Client) -> None:
    server.faults.add(Fault(Expire(), verb="watch"))
    await client.ask("/api/v1/nodes?watch=true&resourceVersion=3")
    status, _, event = await client.answer()
    assert (status, event["type"], event["object"]["code"]) == (200, "ERROR", 410)


async def test_an_error_event_in_mid_stream(server: ApiServer, client: Client) -> None:
    await client.begin_watch()
    server.break_watches()
    event = json.loads(await client.chunk())
    assert (event["type"], event["object"]["code"]) == ("ERROR", 410)
    assert await client.chunk() == b""


async def test_a_rotated_token_is_401_and_a_revoked_verb_403(
    server: ApiServer, client: Client
) -> None:
    server.access.rotate("new")
    server.access.revoke("watch", "nodes")
    await client.ask(LIST)
    assert (await client.answer())[0] == 401
    await client.ask(LIST, token="new")
    assert (await client.answer())[0] == 200
    await client.ask(WATCH, token="new")
    status, _, body = await client.answer()
    assert status == 403
    assert 'cannot watch resource "nodes"' in body["message"]
    server.access.grant("watch", "nodes")
    assert server.verbs() == {("list", "nodes"), ("watch", "nodes")}


async def test_killed_resets_and_comes_back_on_its_port(server: ApiServer, client: Client) -> None:
    await client.begin_watch()
    address = server.address
    await server.stop()
    assert (await client.rest())[1]
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(*address)
    await server.start()
    assert server.address == address
    async with connected(server) as again:
        await again.ask(LIST)
        assert len((await again.answer())[2]["items"]) == 3


async def test_a_store_can_be_lost(server: ApiServer) -> None:
    await server.stop(Stop.KILL, lose=True)
    await server.start()
    async with connected(server) as client:
        await client.ask(LIST)
        body = (await client.answer())[2]
    assert body["items"] == []
    assert body["metadata"]["resourceVersion"] == "1"


async def test_an_older_state_comes_back_with_a_reset(server: ApiServer, client: Client) -> None:
    saved = server.nodes.save()
    server.delete_node("node-00001")
    await client.ask(WATCH)
    await client.reader.readuntil(b"node-00002")
    server.restore(saved)
    assert (await client.rest())[1]
    assert len(server.nodes) == 3


async def test_a_client_that_leaves_ends_its_watch(server: ApiServer) -> None:
    async with connected(server) as client:
        await client.begin_watch()
        assert server.watches == 1
    async with asyncio.timeout(LIMIT):
        while server.watches:  # noqa: ASYNC110 - bounded
            await asyncio.sleep(0.001)


async def test_bookmarks_over_a_connection() -> None:
    timing = Timing(bookmark_interval=1.0, second=0.05)
    async with (
        asyncio.timeout(LIMIT),
        ApiServer(clusternodes.nodes(3), timing=timing) as server,
        connected(server) as client,
    ):
        await client.begin_watch(f"{WATCH}&allowWatchBookmarks=true&timeoutSeconds=60")
        assert json.loads(await client.chunk())["type"] == "BOOKMARK"
