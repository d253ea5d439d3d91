# SPDX-License-Identifier: Apache-2.0
"""How often what others keep undoing is put back: a few times at once, and seldom after that.

Someone who keeps undoing it (a second agent on the node, say) wins most of the time, or two
programs would write over each other as fast as they can.
"""

import asyncio
import time
from collections.abc import Callable

from fwd.core.backoff import Allowance
from fwd.ops import log

REPAIR_BURST = 5
"""At once; after that one each so many seconds:"""
REPAIR_SECONDS = 30.0


class Repairs:
    """Of what one node publishes.

    Nobody waits in here: whoever may not repair yet goes on with the rest of its work, such as an
    address that is new, and is woken when it may.
    """

    def __init__(self, *, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._allowance = Allowance(burst=REPAIR_BURST, seconds=REPAIR_SECONDS)
        self._timer: asyncio.TimerHandle | None = None
        self._is_told = False

    def may(self, event: str, **where: object) -> bool:
        """Whether it may be put back now; says as this event, once a pause, if that has to wait."""
        wait = self._allowance.wait(time.monotonic())
        if not wait:
            return True
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(wait, self._on_timer)
        if not self._is_told:
            self._is_told = True
            text = f"somebody keeps undoing it; it is put back again in {wait:.0f} s"
            log.warning(event, **where, text=text)
        return False

    def done(self) -> None:
        """It has been put back.  What fails repairs nothing, and is no sign of a fight."""
        self._allowance.take(time.monotonic())
        self._is_told = False

    def _on_timer(self) -> None:
        self._timer = None
        self._wake()
