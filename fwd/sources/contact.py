# SPDX-License-Identifier: Apache-2.0
"""How it stands with a server: when to ask again what failed, and what has been said of it.

The one rule of retries of all sources that talk to someone.  While the server is away nothing
happens here except that it is said, once, whatever fails by it.

A connection that breaks is no outage yet: the first retry follows at once, and if that succeeds the
line for the new connection says why there is one.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from enum import Enum

from fwd.core.backoff import Backoff
from fwd.model import ConfigError, FwdError
from fwd.ops import log

RETRY_FIRST_SECONDS = 0.2
RETRY_LONGEST_SECONDS = 4.0
"""Nodes must agree with the server within 5 s of its return.  Five thousand agents then knock some
1,700 times a second at a dead door; a server that is alive and wants less says Retry-After."""
RETRY_SPREAD = 0.5

_NOT_ASKED = "not asked yet"


class ServerError(FwdError):
    """A request that came to nothing, in one line.  `retry_after` seconds, 0 if not said."""

    retry_after: float = 0.0
    came_further: bool = False
    """Than at the time before: what fails now is another thing, and is tried again as such."""
    cause: str = ""
    """What several requests can fail by, in different texts; empty: the text is all there is."""

    def __init__(self, text: str) -> None:
        """A server's text may have bytes that are no character; status and log are UTF-8."""
        super().__init__(text.encode(errors="replace").decode())


class NoAnswer(ServerError):  # noqa: N818 - a kind of failure
    """Nothing was heard, or half of it: no connection, broken off, TLS."""

    cause = "no answer"


class Ending(Enum):
    """How a piece of work went; what went wrong is a ServerError instead."""

    QUIET = "quiet"
    """Nothing was heard: not worth to be done again at once."""
    HEARD = "heard"


class Side(Enum):
    """What the server is asked for; each may fail while the other goes well."""

    WATCH = "watch"
    """What others have published."""
    PUBLISH = "publish"
    """What this node has to say."""


class Contact:
    """With one server, by one word for it in the log: "api-server", "etcd"."""

    def __init__(self, word: str, *, server: Callable[[], str]) -> None:
        """`server` says where it is."""
        self._word = word
        self._server = server
        self._away_since = time.monotonic()
        self._told: dict[Side, set[str]] = {side: set() for side in Side}
        """What has been said of each since it went well last."""
        self._returned = asyncio.Event()
        """Set, and another one from then on, when the server is back."""
        self.on_fault: Callable[[ConfigError], bool] = lambda _: False
        """Takes what no waiting cures, as far as one can tell, and says whether the program ends by
        it, and with that one line."""
        self.away: str | None = _NOT_ASKED
        """Why it is, if it is."""
        self.unpublished = ""
        """Why this node is not published as it should, if it is not."""

    @property
    def seconds_away(self) -> float:
        """Since when."""
        return time.monotonic() - self._away_since

    def heard(self) -> None:
        """The server has answered."""
        if self.away is None:
            return
        fields: dict[str, object] = {"after_seconds": round(self.seconds_away, 1)}
        if self.away != _NOT_ASKED and not self._told[Side.WATCH]:
            fields["error"] = self.away
        log.info(f"{self._word}-connected", server=self._server(), **fields)
        self.away = None
        self._told[Side.WATCH].discard(NoAnswer.cause)
        returned, self._returned = self._returned, asyncio.Event()
        returned.set()

    def well(self) -> None:
        """The server has answered and all is as it should be: the next failure is news."""
        self.heard()
        self._told[Side.WATCH].clear()

    async def retrying(
        self, work: Callable[[], Awaitable[Ending | None]], *, side: Side = Side.WATCH
    ) -> None:
        """Does work until it succeeds: again, after a pause, if it failed or its end was QUIET."""
        backoff = Backoff(
            first=RETRY_FIRST_SECONDS, longest=RETRY_LONGEST_SECONDS, spread=RETRY_SPREAD
        )
        while True:
            begun, retry_after, came_further = time.monotonic(), 0.0, False
            try:
                ending = await work()
            except FwdError as error:
                if isinstance(error, ServerError):
                    retry_after, came_further = error.retry_after, error.came_further
                self._failed(error, side)
            else:
                if side is Side.PUBLISH:
                    self.unpublished = ""
                if ending is not Ending.QUIET:
                    self._told[side].clear()
                    return
            if came_further or time.monotonic() - begun > RETRY_LONGEST_SECONDS:
                backoff.succeeded()  # it went well, or for long enough
            delay = backoff.failed(
                time.monotonic(),
                chance=random.random(),  # noqa: S311 - no secret
                at_least=retry_after,
            )
            await self._pause(delay, side)

    async def _pause(self, seconds: float, side: Side) -> None:
        """What could not be published is, as soon as the watch finds the server back."""
        if side is Side.WATCH or self.away is None:
            await asyncio.sleep(seconds)
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._returned.wait()

    def _failed(self, error: FwdError, side: Side) -> None:
        text = str(error)
        if side is Side.WATCH:
            is_first = self.away is None
            if is_first:
                self._away_since = time.monotonic()
            self.away = text
        else:
            # While the server is away, whoever watches it says so.
            is_first = not self.unpublished or self.away is not None
            self.unpublished = text
        if isinstance(error, ConfigError) and self.on_fault(error):
            return
        if is_first and isinstance(error, NoAnswer):
            return
        cause = (error.cause if isinstance(error, ServerError) else "") or text
        if not any(cause in told for told in self._told.values()):
            log.warning(self._word, error=text)
        self._told[side].add(cause)
