# SPDX-License-Identifier: Apache-2.0
"""When the leases in force are saved: soon after they changed, and apart from everything else.

Changes come in bursts, and leases must not wait for a disk: so it is done in a thread, a while
after the first change of a burst.  A disk that takes nothing is asked again, less and less often,
and said once.  What is not saved at the end is saved then.
"""

import asyncio
import time
from collections.abc import Callable
from typing import NoReturn

from fwd.core.backoff import Backoff
from fwd.model import Lease, OwnLease, Snapshot
from fwd.node.savedstate import SavedState
from fwd.ops import log

SAVE_SECONDS = 1.0
"""From a change to the disk."""
RETRY_SECONDS, RETRY_LONGEST_SECONDS = 1.0, 5.0
"""After a failure: a crash before it has worked would begin with old leases."""

InForce = tuple[tuple[OwnLease, ...], tuple[Lease, ...]]
"""This node's leases and the others'."""


class Saver:
    """Keeps the file; without one it does nothing."""

    def __init__(self, saved: SavedState | None, *, look: Callable[[], InForce]) -> None:
        """`look` says what is in force at that moment."""
        self._saved = saved
        self._look = look
        self._unsaved = asyncio.Event()
        self.trouble: str | None = None
        """Why the file does not say what is in force, if it was tried and failed."""
        self._failures = 0
        """Since it was right."""

    def load(self) -> Snapshot | None:
        """What was in force when it was saved last, if there is anything of use."""
        return None if self._saved is None else self._saved.load()

    def give_up(self) -> None:
        """Another agent saves from now on."""
        self._saved = None

    async def save_now(self) -> None:
        """At once, for whoever reads it next."""
        self._unsaved.clear()
        await asyncio.to_thread(self._save, *self._look())

    def changed(self) -> None:
        """Other leases are in force."""
        self._unsaved.set()

    async def keep(self) -> NoReturn:
        """Saves until it is cancelled, and then once more."""
        backoff, seconds = Backoff(first=RETRY_SECONDS, longest=RETRY_LONGEST_SECONDS), SAVE_SECONDS
        try:
            while True:
                await self._unsaved.wait()
                await asyncio.sleep(seconds)
                self._unsaved.clear()
                await asyncio.to_thread(self._save, *self._look())
                if self.trouble is None:
                    backoff.succeeded()
                    seconds = SAVE_SECONDS
                else:
                    self._unsaved.set()
                    seconds = backoff.failed(time.monotonic())
        finally:
            self._save(*self._look())

    def _save(self, own: tuple[OwnLease, ...], leases: tuple[Lease, ...]) -> None:
        try:
            if self._saved is not None:
                self._saved.save(own, leases)
        except OSError as error:
            self._failures += 1
            text = f"cannot save the leases in force: {error.strerror or error}"
            if text != self.trouble:
                log.warning("saved-state", error=text, text="tried again until it works")
            self.trouble = text
        else:
            if self.trouble is not None:
                log.info("saved-state-good-again", failures=self._failures)
            self.trouble, self._failures = None, 0
