# SPDX-License-Identifier: Apache-2.0
"""How it stands with a server: when to ask again what failed, and what has been said of it.

The one rule of retries of all sources that talk to someone.  While the server is away nothing
happens here except that it is said, once.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from enum import Enum

from fwd.core.backoff import Backoff
from fwd.model import ConfigError, FwdError
from fwd.ops import log

RETRY_FIRST_SECONDS = 0.2
RETRY_LONGEST_SECONDS = 4.0
"""Nodes must agree with the server within 5 s of its return.  Five thousand agents then knock some
1,700 times a second at a dead door; a server that is alive and wants less says Retry-After."""
RETRY_SPREAD = 0.5

REPAIR_BURST = 5
REPAIR_SECONDS = 30.0
"""So often what others keep undoing is put back: at once, and after that."""


class ServerError(FwdError):
    """A request that came to nothing, in one line.  `retry_after` seconds, 0 if not said."""

    retry_after: float = 0.0


class Ending(Enum):
    """How a piece of work went; what went wrong is a ServerError instead."""

    QUIET = "quiet"
    """Nothing was heard: not worth to be done again at once."""
    HEARD = "heard"


class Contact:
    """With one server, by one word for it in the log: "api-server", "etcd"."""

    def __init__(
        self,
        word: str,
        *,
        server: Callable[[], str],
        on_fault: Callable[[ConfigError], bool],
    ) -> None:
        """`server` says where it is.

        `on_fault` takes what no waiting cures, as far as one can tell, and says whether the program
        ends by it, and with that one line.
        """
        self._word = word
        self._server = server
        self._on_fault = on_fault
        self._away_since = time.monotonic()
        self._told: set[str] = set()
        self.away: str | None = "not asked yet"
        """Why it is, if it is."""
        self.unpublished = ""
        """Why this node is not published as it should, if it is not."""

    @property
    def seconds_away(self) -> float:
        """Since when."""
        return time.monotonic() - self._away_since

    def heard(self) -> None:
        """The server has answered."""
        if self.away is not None:
            log.info(
                f"{self._word}-connected",
                server=self._server(),
                after_seconds=round(self.seconds_away, 1),
            )
        self.away = None

    def well(self) -> None:
        """The server has answered and all is as it should be: the next failure is news."""
        self.heard()
        self._told.clear()

    async def retrying(
        self, work: Callable[[], Awaitable[Ending | None]], *, is_watch: bool = True
    ) -> None:
        """Does work, again after each failure, until it succeeds."""
        backoff = Backoff(
            first=RETRY_FIRST_SECONDS, longest=RETRY_LONGEST_SECONDS, spread=RETRY_SPREAD
        )
        while True:
            begun, retry_after = time.monotonic(), 0.0
            try:
                ending = await work()
            except FwdError as error:
                retry_after = error.retry_after if isinstance(error, ServerError) else 0.0
                self._failed(error, is_watch=is_watch)
            else:
                if not is_watch:
                    self.unpublished = ""
                if ending is not Ending.QUIET:
                    self._told.clear()
                    return
            if time.monotonic() - begun > RETRY_LONGEST_SECONDS:
                backoff.succeeded()  # it went well for long enough
            delay = backoff.failed(
                time.monotonic(),
                chance=random.random(),  # noqa: S311 - no secret
                at_least=retry_after,
            )
            await asyncio.sleep(delay)

    def _failed(self, error: FwdError, *, is_watch: bool) -> None:
        text = str(error)
        if is_watch:
            if self.away is None:
                self._away_since = time.monotonic()
            self.away = text
        else:
            self.unpublished = text
        if isinstance(error, ConfigError) and self._on_fault(error):
            return
        if text not in self._told:
            self._told.add(text)
            log.warning(self._word, error=text)
