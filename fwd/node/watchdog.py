# SPDX-License-Identifier: Apache-2.0
"""A worker that is stuck is a crash: the process ends, and whoever started it starts it again.

There is no way to free a thread from outside, and no other worker reads its queue: packets of its
flows would wait for ever.  The kernel keeps them for the next start.
"""

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NoReturn

from fwd.core.heartbeat import Beat, Heartbeat
from fwd.node.tunnel import Tunnel
from fwd.ops import log
from fwd.plane import Plane

LOOK_SECONDS = 0.4
EXIT_STUCK = 70
"""The process's exit code then."""

_TICKS: Final = os.sysconf("SC_CLK_TCK")


async def watch(tunnels: Callable[[], Sequence[Tunnel]]) -> NoReturn:
    """Looks at the workers for ever, or until one is stuck: then it does not return either."""
    heartbeat = Heartbeat()
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        beats = {
            one.layout.device: _beats(one.plane)
            for one in tunnels()
            if one.plane is not None and not one.is_paused
        }
        stuck = heartbeat.observe(beats, now=time.monotonic())
        for device, worker in stuck:
            log.warning("worker-stuck", device=device, worker=worker, text="ends as a crash would")
        if stuck:
            os._exit(EXIT_STUCK)  # nothing here can be waited for: the thread would not be joined


def _beats(plane: Plane) -> list[Beat]:
    pairs = zip(plane.turns(), plane.threads(), strict=True)
    return [Beat(turns, _ran(thread)) for turns, thread in pairs]


def _ran(thread: int) -> float:
    """Seconds that a thread has run (proc(5), stat fields 14 and 15); 0 when it is not there.

    Its clock would not do: that goes on while the processor that it is on stands still.
    """
    try:
        stat = Path(f"/proc/self/task/{thread}/stat").read_text(encoding="ascii")
    except OSError:
        return 0.0
    user, system = stat[stat.rindex(")") + 2 :].split()[11:13]
    return (int(user) + int(system)) / _TICKS
