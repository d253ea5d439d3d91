# SPDX-License-Identifier: Apache-2.0
"""How soon the next agent comes after one that has ended: at once, and in a loop less often."""

CALM_SECONDS = 5.0
"""Who lives that long is not in a loop of crashes; a stuck worker is noticed sooner."""
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 30.0
COLD_AFTER = 3
"""Crashes in a row: perhaps it is what was kept that they crash of."""


class Pauses:
    """Counts."""

    def __init__(self) -> None:
        self.crashes = 0
        """In a row."""

    def after(self, lived: float) -> float:
        """Seconds to wait after an agent that has lived for so many."""
        self.crashes = 1 if lived >= CALM_SECONDS else self.crashes + 1
        if self.crashes == 1:
            return 0.0
        return float(min(FIRST_PAUSE * 2 ** min(self.crashes - 2, 32), LONGEST_PAUSE))

    @property
    def is_time_for_cold(self) -> bool:
        """Whether what was kept is to be dropped before the next one."""
        return self.crashes == COLD_AFTER
