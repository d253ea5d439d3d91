# SPDX-License-Identifier: Apache-2.0
"""Which workers are stuck: those whose turns stand still, seen often enough for long enough.

A worker that sleeps makes a turn a second.  That we look several times in between is what tells a
stuck worker from a machine that stood still itself: then we did not look either.
"""

from collections.abc import Mapping, Sequence

STUCK_SECONDS = 2.0
LOOKS = 4
"""Within these seconds, at least."""


class Heartbeat:
    """What was seen of each worker of each device."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, int], tuple[int, float, int]] = {}
        """Turns, since when they stand there, and how often we have looked since."""

    def observe(self, turns: Mapping[str, Sequence[int]], *, now: float) -> list[tuple[str, int]]:
        """The stuck ones, by device and number; `now` is monotonic, in seconds.

        A device that is left out this time begins anew.
        """
        before, self._seen = self._seen, {}
        stuck = []
        for device, counts in turns.items():
            for worker, count in enumerate(counts):
                key = device, worker
                last, since, looks = before.get(key, (None, now, 0))
                if last != count:
                    since, looks = now, 0
                self._seen[key] = count, since, looks + 1
                if now - since >= STUCK_SECONDS and looks >= LOOKS:
                    stuck.append(key)
        return stuck
