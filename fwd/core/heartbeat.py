# SPDX-License-Identifier: Apache-2.0
"""Which workers are stuck: those whose turns stand still for long enough.

A worker that sleeps makes a turn a second.  A machine may stand still, and all that is on it: then
we do not look either, and the time between two looks counts for a second at most.  One processor of
several may stand still alone (a hypervisor has put it elsewhere, a real-time task has it), and with
it a worker that is well: so a worker that does not run has longer than one that does.
"""

from collections.abc import Mapping, Sequence
from math import isnan
from typing import NamedTuple

STUCK_SECONDS = 2.0
"""Without a turn ..."""
RUN_SECONDS = 1.0
"""... of which it ran at least these, ..."""
IDLE_SECONDS = 10.0
"""... or without a turn, whether it ran or not."""
BETWEEN_SECONDS = 1.0
"""For which the time between two looks counts at most."""


class Beat(NamedTuple):
    """A worker's turns so far, the seconds that its thread has run, whether the kernel holds it.

    The seconds may be NaN, unknown: they count from the first beat that has them.
    """

    turns: int
    ran: float
    held: bool


class Stuck(NamedTuple):
    """For how many seconds a worker has made no turn, and of which it ran; held as in Beat."""

    device: str
    worker: int
    seconds: float
    ran: float
    held: bool


class _Seen(NamedTuple):
    """The beat that a worker stands at, and for how long."""

    beat: Beat
    seconds: float


class Heartbeat:
    """What was seen of each worker of each device."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, int], _Seen] = {}
        self._looked: float | None = None

    def observe(self, beats: Mapping[str, Sequence[Beat]], *, now: float) -> list[Stuck]:
        """The stuck ones; `now` is monotonic, in seconds.

        A device that is left out this time begins anew, and so does who has just been found stuck.
        """
        passed = 0.0 if self._looked is None else min(now - self._looked, BETWEEN_SECONDS)
        before, self._seen, self._looked = self._seen, {}, now
        found = []
        for device, of_workers in beats.items():
            for worker, beat in enumerate(of_workers):
                key = device, worker
                seen = before.get(key)
                if seen is None or seen.beat.turns != beat.turns:
                    self._seen[key] = _Seen(beat, 0.0)
                    continue
                first = beat if isnan(seen.beat.ran) else seen.beat
                seconds, ran = seen.seconds + passed, beat.ran - first.ran
                if _is_stuck(seconds, ran):
                    found.append(Stuck(device, worker, seconds, ran, beat.held))
                else:
                    self._seen[key] = _Seen(first, seconds)
        return found


def _is_stuck(seconds: float, ran: float) -> bool:
    return seconds >= IDLE_SECONDS or (seconds >= STUCK_SECONDS and ran >= RUN_SECONDS)
