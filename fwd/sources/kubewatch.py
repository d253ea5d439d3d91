# SPDX-License-Identifier: Apache-2.0
"""List, mark, watch, and begin again: keeps a NodeTable as the API server has it.

A lost watch is ordinary.  It goes on from the last version that was heard, or, where that cannot be
trusted, with a new list, which replaces the table by value.  It cannot be trusted after 410, and
after a silence: a server that came back with an older state (a restored backup) has nothing to send
from a version that is still in its future, not even a bookmark.  Once its changes have come to that
version it would send them as if nothing had been; so after a watch that broke the server is asked
first how far it has come.
"""

import random
from collections.abc import Callable, Iterator

from msgspec import Struct

from fwd.core.lines import START_BYTES, LineSplitter, TooLong
from fwd.core.nodetable import NodeTable, version_order
from fwd.core.nodewire import (
    Bookmark,
    Changed,
    Deleted,
    Event,
    Failure,
    NodeDecoder,
    Page,
    TooDeepError,
    Unknown,
    Unusable,
    oversized_event,
    oversized_page,
)
from fwd.sources.contact import Ending
from fwd.sources.kubeapi import KubeApi, Oversized, Refused, Silent, Unreachable

_GONE = 410
_PAGE_AT_LEAST = 16
"""Nodes, once the huge one is past: it must not make five thousand requests of a list."""


class Pace(Struct, frozen=True):
    """How much at a time.  Seconds are asked of the server, which ends a watch by itself."""

    page: int = 250
    """Nodes: some 2.5 MB.  client-go takes 500."""
    watch_seconds: tuple[int, int] = (300, 600)
    """client-go's bounds."""


class NodeWatch:
    """One round at a time.  `heard` is called when the server answers, `changed` after changes."""

    def __init__(
        self,
        api: KubeApi,
        decoder: NodeDecoder,
        table: NodeTable,
        *,
        pace: Pace,
        heard: Callable[[], None],
        changed: Callable[[], None],
    ) -> None:
        self._api = api
        self._decoder = decoder
        self._table = table
        self._pace = pace
        self._heard = heard
        self._changed = changed
        self._position: str | None = None
        """resourceVersion up to which the table is the truth; None: it needs a list."""
        self._is_doubtful = False
        """Whether the server may be behind that by now."""
        self.listed = False
        self.unknown = 0
        """Lines of watches that were no event we know of."""

    async def round(self) -> Ending:
        """A list if one is needed, then a watch to its end.  Raises ServerError or ConfigError.

        QUIET: the watch ended as it should, or expired, and nothing had been heard.
        """
        if self._is_doubtful and self._position is not None and await self._is_behind():
            self._position = None
        self._is_doubtful = True  # until this watch has ended in order
        if self._position is None:
            self._position = await self._list()
            self.listed = True
            self._heard()
            self._changed()
        try:
            heard = await self._watch(self._position)
        except Silent:
            self._position = None
            raise
        except Refused as error:
            if error.code in {400, _GONE, 504}:  # 504: a version from the future
                self._position = None
            if error.code != _GONE:
                raise
            return Ending.QUIET
        self._is_doubtful = False
        if not heard:
            self._position = None
        return Ending.HEARD if heard else Ending.QUIET

    async def _is_behind(self) -> bool:
        """Whether the server has not come to our position; not if these cannot be compared."""
        page = self._read(await self._api.page(limit=1))
        found = oversized_page(page) if isinstance(page, bytes) else page
        here = version_order(self._position or "")
        there = version_order(found.version) if found else None
        return here is not None and there is not None and there < here

    async def _list(self) -> str:
        """All Nodes, in pages of bounded size, into the table; returns the list's version."""
        listed: list[Changed | Unusable] = []
        limit = most = self._pace.page
        token = ""
        while True:
            page = self._read(await self._api.page(limit=limit, token=token))
            if isinstance(page, bytes) and limit > 1:
                # Nodes are large here, or one of them is huge: that one will come alone.
                most = max(limit // 2, min(_PAGE_AT_LEAST, most))
                limit = max(limit // 8, 1)
                continue
            if isinstance(page, bytes):
                start = oversized_page(page)
                if start is None:
                    raise Unreachable("cannot list nodes: an answer without end that is no list")
                listed.append(Unusable(start.name, "the object is too long or too deep to be read"))
                version, token = start.version, start.token
            else:
                listed += page.nodes
                version, token = page.version, page.token
            if not token:
                self._table.replace(listed, version=version)
                return version
            limit = min(limit * 2, most)

    def _read(self, body: bytes | bytearray | Oversized) -> Page | bytes:
        """A page, or the start of one that cannot be read as a whole.  Raises Unreachable."""
        if isinstance(body, Oversized):
            return body.start
        try:
            return self._decoder.page(body)
        except TooDeepError:
            return bytes(body[:START_BYTES])
        except ValueError as error:
            raise Unreachable(f"cannot list nodes: the answer is no list: {error}") from error

    async def _watch(self, position: str) -> bool:
        """One watch to its end.  Whether anything at all came."""
        seconds = random.randint(*self._pace.watch_seconds)  # noqa: S311 - no secret
        lines = LineSplitter()
        heard = False
        async with self._api.watch(position, seconds=seconds) as chunks:
            self._heard()
            async for chunk in chunks:
                heard |= self._take_all(lines.feed(chunk))
        if lines.partial:
            raise Unreachable("cannot watch nodes: the watch ended within an event")
        return heard

    def _take_all(self, lines: Iterator[bytes | TooLong]) -> bool:
        """Takes in these lines.  Whether there were any.  Raises Refused for an ERROR event."""
        heard = changed = False
        try:
            for line in lines:
                heard = True
                changed |= self._take(
                    oversized_event(line.start)
                    if isinstance(line, TooLong)
                    else self._decoder.event(line)
                )
        finally:  # what came before an ERROR counts all the same
            if changed:
                self._changed()
        return heard

    def _take(self, event: Event) -> bool:
        """Whether this event changed the table.  Raises Refused for an ERROR event."""
        match event:
            case Failure():
                raise Refused(
                    f"cannot watch nodes: {event.message or event.reason} ({event.code})",
                    code=event.code,
                )
            case Unknown():
                self.unknown += 1
                return False
            case Bookmark():
                self._advance(event.version)
                return False
            case Changed() | Deleted() | Unusable():
                self._advance(event.version)
                return self._table.apply(event)

    def _advance(self, version: str) -> None:
        """Never back, where versions can be compared: events may come in the wrong order."""
        if not version:
            return
        here, there = version_order(self._position or ""), version_order(version)
        if here is not None and there is not None and there < here:
            return
        self._position = version
