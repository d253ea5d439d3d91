# SPDX-License-Identifier: Apache-2.0
"""A worker that is stuck is a crash: the process ends, and whoever started it starts it again.

There is no way to free a thread from outside, and no other worker reads its queue: packets of its
flows would wait for ever.  The kernel keeps them for the next start.
"""

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from typing import NoReturn

from fwd.core.heartbeat import Heartbeat
from fwd.node.tunnel import Tunnel
from fwd.ops import log

LOOK_SECONDS = 0.4
EXIT_STUCK = 70
"""The process's exit code then."""


async def watch(tunnels: Callable[[], Sequence[Tunnel]]) -> NoReturn:
    """Looks at the workers for ever, or until one is stuck: then it does not return either."""
    heartbeat = Heartbeat()
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        turns = {
            one.layout.device: one.plane.turns()
            for one in tunnels()
            if one.plane is not None and not one.is_paused
        }
        stuck = heartbeat.observe(turns, now=time.monotonic())
        for device, worker in stuck:
            log.warning("worker-stuck", device=device, worker=worker, text="ends as a crash would")
        if stuck:
            os._exit(EXIT_STUCK)  # nothing here can be waited for: the thread would not be joined
