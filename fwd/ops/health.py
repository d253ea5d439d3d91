# SPDX-License-Identifier: Apache-2.0
"""/healthz and /readyz for kubelet's probes, in flannel's words (spec 1.3), and /metrics.

A server of its own, because it needs three answers of HTTP, and aiohttp costs 9 MB in modes that
have no other use for it.  It reads one request head of bounded length in bounded time, answers and
closes; a body is not read.  It serves a few connections at a time, and a new one in the place of
the oldest: a probe is answered as soon as it asks, so who holds many connections is not in its way,
whatever he asks for.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus

from fwd.model import ConfigError
from fwd.ops.metrics import CONTENT_TYPE, Metrics, give_way

HEAD_LIMIT = 8192
"""Bytes of a request's head."""
REQUEST_SECONDS = 5.0
"""From connection to answer sent.  kubelet waits for one second unless told otherwise."""
MOST_CONNECTIONS = 32
"""Served at a time."""
HIGHEST_PORT = 65535
_PLAIN_TEXT = "text/plain; charset=utf-8"
_EVERY_ADDRESS = {"", "0.0.0.0", "::"}  # noqa: S104 - who says so means it
"""To Go, and so to flannel: of either family, whichever is named."""
_REQUEST_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) (/[!-~]*) HTTP/1\.[01]")


class Health:
    """How this agent does, for those who ask.  It is ready once, and then for ever, as flannel is.

    /healthz says that the event loop turns, no more.
    """

    def __init__(self, metrics: Metrics | None = None) -> None:
        self.metrics = metrics or Metrics(per_peer=True)
        self.metrics.is_ready = lambda: self._is_ready
        self.why_not_ready: Callable[[], str] = lambda: "it has only just begun"
        self.forwarding = asyncio.Event()
        """Packets flow, and no other agent is left."""
        self._is_ready = False
        self._serving: list[asyncio.Task[None]] = []
        """A task for each connection, the oldest first."""

    def set_ready(self) -> None:
        """Packets flow, the rules are in and subnet.env is written."""
        self._is_ready = True

    @asynccontextmanager
    async def served(self, host: str, port: int) -> AsyncIterator[None]:
        """Listens as long as the context lasts, if port is greater than 0.  Raises ConfigError."""
        if port <= 0:
            yield
            return
        if port > HIGHEST_PORT:  # uvloop would take the low 16 bits
            raise ConfigError(
                f"cannot serve /healthz on port {port}: {HIGHEST_PORT} is the highest"
            )
        try:
            server = await asyncio.start_server(
                self._on_connection,
                None if host in _EVERY_ADDRESS else host,
                port,
                limit=HEAD_LIMIT,
            )
        except OSError as error:
            raise ConfigError(
                f"cannot serve /healthz on {host or '*'} port {port}: {error.strerror or error}: "
                "give another --healthz-ip or --healthz-port"
            ) from error
        try:
            yield
        finally:
            server.close()

    async def _on_connection(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._serving) >= MOST_CONNECTIONS:
            self._serving.pop(0).cancel()
        self._serving.append(task)
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                for piece in await self._answer(reader):
                    writer.write(piece)
                    await writer.drain()
                    await give_way()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.CancelledError):
            writer.transport.abort()  # gone, asleep, or in the way of another one
        finally:
            if task in self._serving:
                self._serving.remove(task)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader) -> list[bytes]:
        """In pieces."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            return _response(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        request = _REQUEST_LINE.fullmatch(head.partition(b"\r\n")[0])
        if request is None:
            return _response(HTTPStatus.BAD_REQUEST)
        method, target = request.groups()
        path, is_head = target.partition(b"?")[0], method == b"HEAD"
        if path == b"/metrics":
            body = await self.metrics.exposition()
            return _response(HTTPStatus.OK, *body, is_head=is_head, content=CONTENT_TYPE)
        status, text = self._state(path)
        return _response(status, text.encode(), is_head=is_head)

    def _state(self, path: bytes) -> tuple[HTTPStatus, str]:
        if path == b"/healthz":
            return HTTPStatus.OK, "flanneld is running"
        if path != b"/readyz":
            return HTTPStatus.NOT_FOUND, "404 page not found\n"
        if self._is_ready:
            return HTTPStatus.OK, "flanneld is ready"
        why = self.why_not_ready()
        return HTTPStatus.SERVICE_UNAVAILABLE, f"flanneld is not ready yet: {why}"


def _response(
    status: HTTPStatus, *body: bytes, is_head: bool = False, content: str = _PLAIN_TEXT
) -> list[bytes]:
    """A whole answer, after which the connection is closed."""
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\n"
        f"Content-Type: {content}\r\n"
        f"Content-Length: {sum(map(len, body))}\r\n"
        "Connection: close\r\n\r\n"
    )
    return [head.encode("ascii"), *(() if is_head else body)]
