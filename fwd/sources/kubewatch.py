# SPDX-License-Identifier: Apache-2.0
"""List, mark, watch, and begin again: keeps a NodeTable as the API server has it.

A lost watch is ordinary.  It goes on from the last version that was heard, or, where that cannot be
trusted, with a new list, which replaces the table by value.  It cannot be trusted after 410, after
a second error from there, and after a silence: a server that came back with an older state (a
restored backup) has nothing to send from a version that is still in its future, not even a
bookmark.  Once its changes have come to that version it would send them as if nothing had been; so
after a watch that broke the server is asked first how far it has come.
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
from fwd.model import FwdError
from fwd.sources.contact import Ending, NoAnswer, ServerError
from fwd.sources.kubeapi import KubeApi, Oversized, Refused, Silent, Unreachable

_GONE = 410
_PAGE_FAILURES = 5
"""In a row, after which a list begins anew: what is wrong is not of this page then."""
_PAGE_AT_LEAST = 16
"""Nodes, once the huge one is past: it must not make five thousand requests of a list."""


class Pace(Struct, frozen=True):
    """How much at a time.  Seconds are asked of the server, which ends a watch by itself."""

    page: int = 250
    """Nodes: some 2.5 MB.  client-go takes 500."""
    watch_seconds: tuple[int, int] = (300, 600)
    """client-go's bounds."""


class _Listing(Struct):
    """A list under way."""

    most: int
    """Nodes a page, from now on."""
    limit: int
    """Of the next page."""
    nodes: list[Changed | Unusable] = []
    version: str = ""
    token: str = ""
    """Where to go on."""
    failures: int = 0
    """In a row, of one page."""


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
        self._failed_at: str | None = None
        """Where an ERROR event came: the next one from the same position means a list."""
        self._listing: _Listing | None = None
        self.listed = False

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
        """All Nodes, in pages of bounded size, into the table; returns the list's version.

        After a page that came to nothing the next call goes on with that: of a server that refuses
        some requests a large cluster's list would never come to its end.
        """
        listing = self._listing
        if listing is None:
            listing = self._listing = _Listing(most=self._pace.page, limit=self._pace.page)
            self._table.begin_list()
        try:
            while await self._take_page(listing):
                listing.failures = 0
        except FwdError as error:
            listing.failures += 1
            if not (listing.token and _may_pass(error) and listing.failures < _PAGE_FAILURES):
                self._listing = None
            elif isinstance(error, ServerError):
                error.came_further = listing.failures == 1
            raise
        self._listing = None
        self._table.replace(listing.nodes, version=listing.version)
        return listing.version

    async def _take_page(self, listing: _Listing) -> bool:
        """Asks for the next page; whether there is another one after that."""
        page = self._read(await self._api.page(limit=listing.limit, token=listing.token))
        if isinstance(page, bytes) and listing.limit > 1:
            # Nodes are large here, or one of them is huge: that one will come alone.
            listing.most = max(listing.limit // 2, min(_PAGE_AT_LEAST, listing.most))
            listing.limit = max(listing.limit // 8, 1)
            return True
        if isinstance(page, bytes):
            start = oversized_page(page)
            if start is None:
                raise Unreachable("cannot list nodes: an answer without end that is no list")
            reason = "the object is too long or too deep to be read"
            listing.nodes.append(Unusable(start.name, reason))
            listing.version, listing.token = start.version, start.token
        else:
            listing.nodes += page.nodes
            listing.version, listing.token = page.version, page.token
        listing.limit = min(listing.limit * 2, listing.most)
        return bool(listing.token)

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
                if self._failed_at == self._position:  # the second: nothing is to be had from there
                    self._position = None
                self._failed_at = self._position
                raise Refused(
                    f"cannot watch nodes: {event.message or event.reason} ({event.code})",
                    code=event.code,
                )
            case Unknown():
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


def _may_pass(error: FwdError) -> bool:
    """Whether the same page may come the next time."""
    if isinstance(error, Refused):
        return error.code == 429 or error.code >= 500
    return isinstance(error, NoAnswer)
