# SPDX-License-Identifier: Apache-2.0
"""An answer on its way out: framed as Go frames it, and cut where a fault wants it cut.

Go's HTTP server announces a length if the whole body fits its buffer of 2048 bytes, and sends
chunks otherwise; the recordings show both.
"""

import asyncio
from collections.abc import Callable, Iterator
from typing import Final

import msgspec
from aiohttp import web

from fwd.lab.apiserver import wire
from fwd.lab.apiserver.answers import Object, Refusal
from fwd.lab.apiserver.faults import Cut, How, Unit

_BUFFER: Final = 2048


class Reply:
    """The answer to one request; ``on_status`` learns its status before anything is sent."""

    def __init__(self, request: web.BaseRequest, *, on_status: Callable[[int], None]) -> None:
        self.response: web.StreamResponse = web.StreamResponse()
        self._request = request
        self._on_status = on_status
        self._cut: Cut | None = None
        self._left = 0  # bytes of the body until the cut

    @property
    def authorization(self) -> str | None:
        """The request's header of this name."""
        return self._request.headers.get("Authorization")

    def cut(self, cut: Cut) -> None:
        """Have this answer cut."""
        if cut.unit is Unit.WIRE:
            wire.of(self._request).cut_after(cut.after, cut.how)
        else:
            self._cut, self._left = cut, cut.after

    async def begin(self, status: int = 200, *, length: int | None = None) -> None:
        """Send the head; a body follows by ``write``."""
        self._on_status(status)
        self.response.set_status(status)
        self.response.content_type = "application/json"
        if length is None:
            self.response.enable_chunked_encoding()
        else:
            self.response.content_length = length
        await self.response.prepare(self._request)
        await self.response.write(b"")  # aiohttp keeps the head for the first write otherwise
        await self.write(b"")  # a cut may be due

    async def write(self, data: bytes) -> None:
        """Send a part of the body."""
        if self._cut is None:
            if data:
                await self.response.write(data)
            return
        part, self._left = data[: self._left], self._left - len(data)
        if part:
            await self.response.write(part)
        if self._left <= 0:
            wire.of(self._request).cut(self._cut.how)
            if self._cut.how is How.SILENCE:
                await asyncio.Event().wait()  # until the client has had enough

    async def end(self) -> None:
        """Nothing more follows."""
        await self.response.write_eof()

    async def send(self, body: bytes | Object, status: int = 200) -> None:
        """Send a whole answer."""
        data = body if isinstance(body, bytes) else msgspec.json.encode(body) + b"\n"
        await self.begin(status, length=len(data) if len(data) <= _BUFFER else None)
        await self.write(data)
        await self.end()

    async def stream(self, pieces: Iterator[bytes]) -> None:
        """Send a whole answer that may be large."""
        first = next(pieces)
        await self.begin(length=len(first) if len(first) <= _BUFFER else None)
        await self.write(first)
        for piece in pieces:
            await self.write(piece)
        await self.end()

    async def refuse(self, refusal: Refusal) -> None:
        """Send an error."""
        if refusal.retry_after is not None:
            self.response.headers["Retry-After"] = str(refusal.retry_after)
        await self.send(refusal.body, refusal.code)
