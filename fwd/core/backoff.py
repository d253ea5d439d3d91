# SPDX-License-Identifier: Apache-2.0
"""When to try again what failed, and how often to do what someone keeps undoing."""

FIRST_SECONDS = 1.0
LONGEST_SECONDS = 30.0
"""flannel 5.4: after a lost device it waits 1 s, then twice as long each time, up to 30 s."""


class Backoff:
    """One thing that may fail.  Times are seconds of any clock that only goes forward.

    `spread` is the part of each delay that chance may take away, so that agents which lost one
    server together do not come back together.
    """

    def __init__(
        self, *, first: float = FIRST_SECONDS, longest: float = LONGEST_SECONDS, spread: float = 0.0
    ) -> None:
        self._first = first
        self._longest = longest
        self._spread = spread
        self._delay = first
        self._not_before: float | None = None

    def due(self, now: float) -> bool:
        """Whether it may be tried now."""
        return self._not_before is None or now >= self._not_before

    def failed(self, now: float, *, chance: float = 0.0, at_least: float = 0.0) -> float:
        """It was tried and failed; returns the seconds until the next time.

        `chance` is a random number from [0, 1); `at_least` is what the other side asked for, such
        as Retry-After, and chance only lengthens that.
        """
        delay, self._delay = self._delay, min(self._delay * 2, self._longest)
        delay *= 1 - self._spread * chance
        if at_least:
            delay = max(delay, at_least * (1 + self._spread * chance))
        self._not_before = now + delay
        return delay

    def succeeded(self) -> None:
        """It worked; the next failure counts as the first."""
        self._delay = self._first
        self._not_before = None


class Allowance:
    """How often something may be done: `burst` times at once, and once more every `seconds`."""

    def __init__(self, *, burst: int, seconds: float) -> None:
        self._burst = burst
        self._seconds = seconds
        self._spent = 0.0
        self._at = 0.0

    def wait(self, now: float) -> float:
        """Seconds until it may be done; 0: it may be now."""
        self._recover(now)
        return max(0.0, (self._spent - self._burst + 1) * self._seconds)

    def take(self, now: float) -> None:
        """It is done now."""
        self._recover(now)
        self._spent += 1

    def _recover(self, now: float) -> None:
        if self._spent:
            self._spent = max(0.0, self._spent - (now - self._at) / self._seconds)
        self._at = now
