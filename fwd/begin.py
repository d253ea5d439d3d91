# SPDX-License-Identifier: Apache-2.0
"""`fwd run`: what comes before the agent is loaded, which takes a third of a second.

After a crash packets wait in the kernel for whoever is started again.  What the supervisor has kept
is enough to forward by at once; the agent proper finds its planes at work.
"""

import os
import time

from msgspec import Struct

from fwd.config import RunConfig
from fwd.node.confining import limit_system_calls
from fwd.node.handover.keeping import Revived, StoreKeeping, revive
from fwd.node.handover.spare import wait_for_turn
from fwd.node.handover.store import Store
from fwd.node.rundir import RunDir
from fwd.ops import log
from fwd.supervisor.words import SPARE

LOCK_SECONDS = 1.0
"""For the lock of an agent that is gone."""
_AGAIN_SECONDS = 0.005


class Begun(Struct, frozen=True):
    """What there is before the agent."""

    run_dir: RunDir
    store: Store
    keeping: StoreKeeping
    revived: Revived


def begin(config: RunConfig) -> Begun:
    """Forwards again, if there is anything kept to forward by.  Raises ConfigError."""
    log.set_up(config.log_format)
    store = Store.of_environment(os.environ)
    if os.environ.pop(SPARE, ""):
        wait_for_turn(store)
    limit_system_calls(config)  # a spare may have become one of another version, which needs others
    keeping = StoreKeeping(store)
    run_dir = RunDir.enter(config.run_dir)
    kept = store.load()
    if kept and _is_ours_soon(run_dir):
        revived = revive(kept, keeping)
    else:  # nothing is kept, or somebody else has begun since the crash
        keeping.drop_all(kept)
        revived = Revived({}, keeping)
    if revived.devices:
        log.info("revived", devices=",".join(revived.devices))
    if store.is_there:
        store.put_lock(str(run_dir.path / RunDir.LOCK))
    return Begun(run_dir=run_dir, store=store, keeping=keeping, revived=revived)


def _is_ours_soon(run_dir: RunDir) -> bool:
    """Whether the lock is.  A copy of it may be on its way to nobody, or in a dying child."""
    end = time.monotonic() + LOCK_SECONDS
    while not run_dir.try_lock():
        if time.monotonic() > end:
            return False
        time.sleep(_AGAIN_SECONDS)
    return True
