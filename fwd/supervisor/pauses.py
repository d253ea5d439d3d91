# SPDX-License-Identifier: Apache-2.0
"""How soon the next agent comes after one that has ended: at once, and in a loop less often.

An agent that crashes of itself soon does so again, most likely: of what it begins with, or of what
was kept.  One that was killed after some seconds was not: whoever waits then only loses packets.
"""

CALM_SECONDS = 15.0
"""Who lives that long ends a row of crashes; a stuck worker is noticed sooner (core/heartbeat)."""
BRIEF_SECONDS = 1.0
"""Who lives shorter was not killed by chance."""
PATIENCE = 20
"""In a row, of those that were killed: more are a loop all the same (of no memory, say)."""
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 30.0
COLD_AFTER = 3
"""In a row, of a loop's: perhaps it is what was kept that they crash of.  From there on nothing is
kept in a pause: it was tried, and it would keep the devices from an agent that begins meanwhile."""


class Pauses:
    """Counts."""

    def __init__(self) -> None:
        self.crashes = 0
        """In a row."""
        self._bad = 0
        """Of these, those that are a loop's; the first one never is."""
        self.colds = 0
        """How many in a row are to begin from nothing, with the next one; 0: that one is not."""

    def after(self, lived: float, *, killed: bool) -> float:
        """Seconds to wait after an agent that has lived for so many, and was killed or crashed."""
        if lived >= CALM_SECONDS:
            self.crashes = self._bad = 0
        self.crashes += 1
        is_loop = not killed or lived < BRIEF_SECONDS or self.crashes > PATIENCE
        is_bad = is_loop and self.crashes > 1
        self._bad += is_bad
        self.colds = max(0, self._bad - COLD_AFTER + 2) if is_bad else 0
        if not is_bad:
            return 0.0
        return float(min(FIRST_PAUSE * 2 ** min(self._bad - 1, 32), LONGEST_PAUSE))
