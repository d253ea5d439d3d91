# SPDX-License-Identifier: Apache-2.0
"""A worker that is stuck is a crash: the process ends, and whoever started it starts it again.

There is no way to free a thread from outside, and no other worker reads its queue: packets of its
flows would wait for ever.  The kernel keeps them for the next start.  Only for a thread that the
kernel holds (state D) this might be no help: the process may not be gone before the thread is.
"""

import asyncio
import math
import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final, NoReturn

from fwd.core.heartbeat import Beat, Heartbeat
from fwd.ops import log
from fwd.plane import EXIT_STUCK, Plane

LOOK_SECONDS = 0.4

_TICKS: Final = os.sysconf("SC_CLK_TCK")


async def watch(planes: Callable[[], Iterable[Plane]]) -> NoReturn:
    """Looks at the workers for ever, or until one is stuck that can be ended: with the process.

    `planes` are those that run at the moment.
    """
    heartbeat = Heartbeat()
    beats: dict[str, list[Beat]] = {}
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        beats = {
            (device := one.settings.device): _beats(one, beats.get(device, ())) for one in planes()
        }
        stuck = heartbeat.observe(beats, now=time.monotonic())
        for one in stuck:
            log.warning(
                "worker-stuck",
                device=one.device,
                worker=one.worker,
                seconds=round(one.seconds, 1),
                of_which_it_ran=None if math.isnan(one.ran) else round(one.ran, 1),
                text="the kernel holds it" if one.held else "ends as a crash would",
            )
        if any(not one.held for one in stuck):
            os._exit(EXIT_STUCK)  # nothing here can be waited for: the thread would not be joined


def _beats(plane: Plane, before: Sequence[Beat]) -> list[Beat]:
    """Threads are looked at only while they make no turn."""
    still, threads = {i: beat.turns for i, beat in enumerate(before)}, plane.threads()
    return [
        Beat(turns, *_thread(threads[i])) if turns == still.get(i) else Beat(turns, math.nan, False)
        for i, turns in enumerate(plane.turns())
    ]


def _thread(number: int) -> tuple[float, bool]:
    """Seconds that it has run (proc(5), stat fields 14 and 15; NaN: unknown); whether it is held.

    Its clock would not do: that goes on while its processor stands still.  These fields do so as
    well on a processor without ticks (nohz_full): such a worker has the shorter time.
    """
    try:
        stat = Path(f"/proc/self/task/{number}/stat").read_text(errors="replace")
    except OSError:
        return math.nan, False
    state, *fields = stat[stat.rindex(")") + 2 :].split()
    user, system = fields[10:12]
    return (int(user) + int(system)) / _TICKS, state == "D"
