# SPDX-License-Identifier: Apache-2.0
"""When the leases in force are saved: soon after they changed, and apart from everything else.

Changes come in bursts, and leases must not wait for a disk: so it is done in a thread, a while
after the first change of a burst.  What is not saved at the end is saved then.
"""

import asyncio
from collections.abc import Callable
from typing import NoReturn

from fwd.model import Lease, OwnLease, Snapshot
from fwd.node.savedstate import SavedState
from fwd.ops import log

SAVE_SECONDS = 1.0
"""From a change to the disk."""

InForce = tuple[tuple[OwnLease, ...], tuple[Lease, ...]]
"""This node's leases and the others'."""


class Saver:
    """Keeps the file; without one it does nothing."""

    def __init__(self, saved: SavedState | None, *, look: Callable[[], InForce]) -> None:
        """`look` says what is in force at that moment."""
        self._saved = saved
        self._look = look
        self._unsaved = asyncio.Event()

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
        try:
            while True:
                await self._unsaved.wait()
                await asyncio.sleep(SAVE_SECONDS)
                self._unsaved.clear()
                await asyncio.to_thread(self._save, *self._look())
        finally:
            self._save(*self._look())

    def _save(self, own: tuple[OwnLease, ...], leases: tuple[Lease, ...]) -> None:
        try:
            if self._saved is not None:
                self._saved.save(own, leases)
        except OSError as error:
            log.warning("saved-state", error=f"cannot save: {error.strerror or error}")
