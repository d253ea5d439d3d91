# SPDX-License-Identifier: Apache-2.0
"""What sources that watch a server have in common: endless rounds, and snapshots of a table.

Theory of operation.  Two endless rounds, each a few lines: one keeps a table as the server has it,
the other keeps our own part of it as we want it.  Both retry by the rule of `contact`.  Whatever
changes the table sets a flag; whoever asks for `changes()` gets the table of that moment, so a
burst of events costs one snapshot, and one that changes nothing of interest costs none.

A round that crashes is an error for whoever waits for leases.  In a task group it would cancel who
entered the source, and all that ends before the source would take that for an orderly end.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from typing import NoReturn, Self

from fwd.model import ConfigError, Snapshot, SourceState, Trouble
from fwd.ops import log
from fwd.sources.contact import Contact

SNAPSHOT_SECONDS = 0.2
"""At least between two snapshots: a change that comes alone is passed on at once."""


class WatchedSource(ABC):
    """The part of a `LeaseSource` that is the same whatever is watched."""

    all_or_nothing = False

    def __init__(self, contact: Contact) -> None:
        """With the server; what faults it meets are the source's from now on."""
        self._contact = contact
        contact.on_fault = self._on_fault
        self._waiting = ""
        """What this node's own leases wait for."""
        self._fault: ConfigError | None = None
        """What no waiting cures, as far as one can tell."""
        self._news = asyncio.Event()
        self._running: list[asyncio.Task[NoReturn]] = []

    async def __aenter__(self) -> Self:
        for rounds in (self._follow(), self._publish()):
            task = asyncio.create_task(rounds)
            task.add_done_callback(lambda _: self._news.set())
            self._running.append(task)
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._running:
            task.cancel()
        try:
            await asyncio.wait(self._running)
        finally:
            await self._close()

    async def first(self) -> Snapshot:
        """The first whole list in which this node has its subnets."""
        while True:
            await self._next_news()
            if self._fault is not None:
                raise self._fault
            if snapshot := self._snapshot():
                return snapshot

    async def changes(self) -> AsyncIterator[Snapshot | Trouble]:
        """The table after each batch of changes that matter.  What is wrong is in state()."""
        while True:
            await self._next_news()
            if snapshot := self._snapshot():
                yield snapshot
            await asyncio.sleep(SNAPSHOT_SECONDS)

    async def _next_news(self) -> None:
        """Waits.  Raises RuntimeError if a round has ended by itself."""
        await self._news.wait()
        self._news.clear()
        for task in self._running:
            if task.done():
                error = None if task.cancelled() else task.exception()
                raise RuntimeError("a round ended, which none may") from error

    def _state(self, kind: str, *, watching: str, is_current: bool) -> SourceState:
        """For state(): where the server is, what is waited for, else what is watched."""
        contact = self._contact
        if contact.away is not None:
            standing, detail = "away", f"for {contact.seconds_away:.0f} s: {contact.away}"
        elif self._waiting:
            standing, detail = "waiting", self._waiting
        else:
            standing, detail = "watching", watching
        if contact.unpublished:
            detail += f"; this node is not published: {contact.unpublished}"
        return SourceState(
            kind=kind.strip(), standing=standing, detail=detail, is_current=is_current
        )

    def _wait_for(self, text: str) -> None:
        """Says once what is waited for; empty: nothing."""
        if text and text != self._waiting:
            log.warning("waiting", text=text)
        self._waiting = text

    def _on_fault(self, error: ConfigError) -> bool:
        if self._is_in_force():
            return False
        self._fault = error
        self._news.set()
        return True

    # What each source does its own way.

    @abstractmethod
    async def _follow(self) -> NoReturn:
        """Keeps the table."""

    @abstractmethod
    async def _publish(self) -> NoReturn:
        """Keeps this node's own part of it."""

    @abstractmethod
    async def _close(self) -> None:
        """Closes all connections."""

    @abstractmethod
    def _snapshot(self) -> Snapshot | None:
        """The table, if there is one and this node has its subnets."""

    @abstractmethod
    def _is_in_force(self) -> bool:
        """Whether anybody goes by our leases yet: nothing ends the program then."""
