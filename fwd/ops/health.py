# SPDX-License-Identifier: Apache-2.0
"""/healthz and /readyz for kubelet's probes, in flannel's words (spec 1.3).

A server of its own, because it needs two answers of HTTP and aiohttp costs 9 MB in modes that have
no other use for it.  It reads one request head of bounded length in bounded time, answers and
closes; a body is not read.  Whoever opens many connections gets no more than a few at a time.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus

from fwd.model import ConfigError

HEAD_LIMIT = 8192
"""Bytes of a request's head."""
REQUEST_SECONDS = 5.0
"""From connection to answer sent.  kubelet waits for one second unless told otherwise."""
MOST_CONNECTIONS = 32
HIGHEST_PORT = 65535
_REQUEST_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) (/[!-~]*) HTTP/1\.[01]")


class Health:
    """How this agent does, for those who ask.  It is ready once, and then for ever, as flannel is.

    /healthz says that the event loop turns, no more.
    """

    def __init__(self) -> None:
        self._is_ready = False
        self._connections = 0

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
                self._on_connection, host or None, port, limit=HEAD_LIMIT
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
        self._connections += 1
        try:
            if self._connections <= MOST_CONNECTIONS:
                async with asyncio.timeout(REQUEST_SECONDS):
                    writer.write(await self._answer(reader))
                    await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            writer.transport.abort()  # gone, or asleep
        finally:
            self._connections -= 1
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader) -> bytes:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            return _response(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        request = _REQUEST_LINE.fullmatch(head.partition(b"\r\n")[0])
        if request is None:
            return _response(HTTPStatus.BAD_REQUEST)
        method, target = request.groups()
        status, text = self._state(target.partition(b"?")[0])
        return _response(status, text, is_head=method == b"HEAD")

    def _state(self, path: bytes) -> tuple[HTTPStatus, str]:
        if path == b"/healthz":
            return HTTPStatus.OK, "flanneld is running"
        if path != b"/readyz":
            return HTTPStatus.NOT_FOUND, "404 page not found\n"
        if self._is_ready:
            return HTTPStatus.OK, "flanneld is ready"
        return HTTPStatus.SERVICE_UNAVAILABLE, "flanneld is not ready yet"


def _response(status: HTTPStatus, text: str = "", *, is_head: bool = False) -> bytes:
    """A whole answer, after which the connection is closed."""
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\n"
        "Content-Type: text/plain; charset=utf-8\r\n"
        f"Content-Length: {len(text)}\r\n"
        "Connection: close\r\n\r\n"
    )
    return (head + ("" if is_head else text)).encode("ascii")
