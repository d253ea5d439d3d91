# SPDX-License-Identifier: Apache-2.0
"""Workers that wait for a processor longer than they have one: packets wait with them.

The kernel's vxlan works in whoever sends; a worker competes with all other processes of the node,
by the share that its control group has: in Kubernetes by the request.
"""

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

LOOK_SECONDS: Final = 60.0
WAITED_SHARE: Final = 0.1
"""Of these seconds that a worker waited at least, ..."""
WAITED_TIMES: Final = 3.0
"""... and so many times as long as it ran."""
AGAIN_SECONDS: Final = 3600.0


class ProcessorTime(Struct, frozen=True, rename="kebab"):
    """Seconds since a thread began: on a processor, and runnable without one."""

    ran_seconds: float
    waited_seconds: float

    @property
    def is_scarce(self) -> bool:
        """Whether it mostly waited."""
        return self.waited_seconds > WAITED_TIMES * self.ran_seconds

    def since(self, before: "ProcessorTime") -> "ProcessorTime":
        """What came after `before`, of the same thread."""
        return ProcessorTime(
            self.ran_seconds - before.ran_seconds, self.waited_seconds - before.waited_seconds
        )


class Scarcity(Struct, frozen=True):
    """A worker of a device that mostly waited, and its time since the last look."""

    device: str
    worker: int
    time: ProcessorTime


def parse_schedstat(text: str) -> ProcessorTime | None:
    """Of /proc/PID/task/TID/schedstat: nanoseconds ran and waited (Linux, sched-stats.rst).

    None: a kernel without SCHED_INFO, which has zeros there, or no such text.
    """
    fields = text.split()
    if len(fields) != 3 or not all(field.isdigit() for field in fields):
        return None
    ran, waited, slices = map(int, fields)
    return ProcessorTime(ran / 1e9, waited / 1e9) if slices else None


class ProcessorWatch:
    """Looks once a minute; a worker is told of when it is first found, then once an hour."""

    def __init__(self) -> None:
        self._looked: float | None = None
        self._before: dict[tuple[str, int], ProcessorTime] = {}
        self._told: dict[tuple[str, int], float] = {}

    def is_due(self, now: float) -> bool:
        """Whether to look, `now` (monotonic, seconds)."""
        return self._looked is None or now - self._looked >= LOOK_SECONDS

    def observe(
        self, times: Mapping[tuple[str, int], ProcessorTime], *, now: float
    ) -> list[Scarcity]:
        """What is to be told, of times by device and worker; a worker made anew begins anew."""
        passed = 0.0 if self._looked is None else now - self._looked
        before, self._before, self._looked = self._before, dict(times), now
        found = []
        for worker, time in times.items():
            last = before.get(worker)
            if last is None or time.ran_seconds < last.ran_seconds:
                continue
            since = time.since(last)
            told = self._told.get(worker)
            is_news = told is None or now - told >= AGAIN_SECONDS
            if is_news and since.is_scarce and since.waited_seconds >= WAITED_SHARE * passed:
                self._told[worker] = now
                found.append(Scarcity(*worker, since))
        return found
