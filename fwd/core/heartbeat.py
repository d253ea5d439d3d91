# SPDX-License-Identifier: Apache-2.0
"""Which workers are stuck: those whose turns stand still, seen often enough for long enough.

A worker that sleeps makes a turn a second.  That we look several times in between is what tells a
stuck worker from a machine that stood still itself: then we did not look either.  One processor of
several may stand still alone, though (a hypervisor has put it elsewhere, or a real-time task has
it), and with it a worker that is well: therefore the few seconds are a worker's own, those it has
run without a turn.  A worker that does not run at all, because something holds it in the kernel
or because nothing lets it run, has longer: to begin anew would help against neither soon.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

STUCK_SECONDS = 2.0
"""Without a turn ..."""
RUN_SECONDS = 1.0
"""... of which it ran at least these, ..."""
IDLE_SECONDS = 10.0
"""... or without a turn, whether it ran or not."""
LOOKS = 4
"""Within these seconds, at least."""


class Beat(NamedTuple):
    """A worker's turns so far, and the seconds that its thread has run."""

    turns: int
    ran: float


class _Seen(NamedTuple):
    """The beat that a worker has stood at, since when, and how often we have looked since."""

    beat: Beat
    since: float
    looks: int


class Heartbeat:
    """What was seen of each worker of each device."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, int], _Seen] = {}

    def observe(self, beats: Mapping[str, Sequence[Beat]], *, now: float) -> list[tuple[str, int]]:
        """The stuck ones, by device and number; `now` is monotonic, in seconds.

        A device that is left out this time begins anew.
        """
        before, self._seen = self._seen, {}
        stuck = []
        for device, of_workers in beats.items():
            for worker, beat in enumerate(of_workers):
                key = device, worker
                seen = before.get(key)
                if seen is None or seen.beat.turns != beat.turns:
                    seen = _Seen(beat, now, 0)
                self._seen[key] = seen = seen._replace(looks=seen.looks + 1)
                if seen.looks >= LOOKS and _is_stuck(now - seen.since, beat.ran - seen.beat.ran):
                    stuck.append(key)
        return stuck


def _is_stuck(seconds: float, ran: float) -> bool:
    return seconds >= IDLE_SECONDS or (seconds >= STUCK_SECONDS and ran >= RUN_SECONDS)
