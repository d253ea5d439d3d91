# SPDX-License-Identifier: Apache-2.0
"""Which drops to tell now: each reason when it is first seen, then at most once a minute."""

from collections.abc import Iterable, Mapping

from msgspec import Struct

AGAIN_SECONDS = 60.0


class DropReport(Struct, frozen=True):
    """`count` packets since this reason was last told, `total` as the counters have it."""

    reason: str
    count: int
    total: int


class DropWatch:
    """Remembers what was told."""

    def __init__(self) -> None:
        self._told: dict[str, tuple[float | None, int]] = {}
        """When a reason was last told, None if by another one, and its total by then."""

    def inherit(self, totals: Mapping[str, int]) -> None:
        """What the counters begin with, which is another one's to tell."""
        self._told = {reason: (None, total) for reason, total in totals.items()}

    def observe(
        self, totals: Mapping[str, int], reasons: Iterable[str], *, now: float
    ) -> list[DropReport]:
        """The reports that are due, from counters that only grow; now in seconds, monotonic."""
        reports = []
        for reason in reasons:
            total = totals.get(reason, 0)
            at, told = self._told.get(reason, (None, 0))
            if total > told and (at is None or now - at >= AGAIN_SECONDS):
                self._told[reason] = (now, total)
                reports.append(DropReport(reason=reason, count=total - told, total=total))
        return reports
