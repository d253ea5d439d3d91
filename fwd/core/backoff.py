# SPDX-License-Identifier: Apache-2.0
"""When to try again what failed: 1 s after the first failure, doubling up to 30 s (flannel 5.4)."""

FIRST_SECONDS = 1.0
LONGEST_SECONDS = 30.0


class Backoff:
    """One thing that may fail.  Times are seconds of any clock that only goes forward."""

    def __init__(self) -> None:
        self._delay = FIRST_SECONDS
        self._not_before: float | None = None

    def due(self, now: float) -> bool:
        """Whether it may be tried now."""
        return self._not_before is None or now >= self._not_before

    def failed(self, now: float) -> float:
        """It was tried and failed; returns the seconds until the next time."""
        delay, self._delay = self._delay, min(self._delay * 2, LONGEST_SECONDS)
        self._not_before = now + delay
        return delay

    def succeeded(self) -> None:
        """It worked; the next failure counts as the first."""
        self._delay = FIRST_SECONDS
        self._not_before = None
