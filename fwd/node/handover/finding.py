# SPDX-License-Identifier: Apache-2.0
"""Who was here before: nobody, an agent that gives, or one that does not."""

import asyncio
import time

from fwd.model import ConfigError
from fwd.node.handover.legacy import Legacy, NoLegacy
from fwd.node.handover.taker import OtherNodeError, TakeOverError, Taker
from fwd.node.rundir import RunDir
from fwd.ops import log

WAIT_SECONDS = 10.0
"""For an agent that is just starting, or just ending."""
_AGAIN_SECONDS = 0.1


async def find_legacy(run_dir: RunDir, *, node: str, seconds: float = WAIT_SECONDS) -> Legacy:
    """What to begin with.  ConfigError if another agent has the directory and keeps it."""
    if run_dir.try_lock():
        return NoLegacy()
    end = time.monotonic() + seconds
    while True:
        taker = Taker(run_dir, node=node)
        try:
            if await asyncio.to_thread(taker.probe):
                log.info("takes-over", text="another agent runs here and gives its tunnels")
                return taker
            reason = "it is ending"
        except OtherNodeError as error:
            reason = str(error)
            end = 0
        except TakeOverError as error:
            reason = str(error)
        if run_dir.try_lock():
            return NoLegacy()
        if time.monotonic() > end:
            raise ConfigError(
                f"another agent runs with {run_dir.path} and does not hand over ({reason}): "
                "stop it, or give --run-dir of this one's own"
            )
        await asyncio.sleep(_AGAIN_SECONDS)
