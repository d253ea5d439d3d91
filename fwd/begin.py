# SPDX-License-Identifier: Apache-2.0
"""`fwd run`: what comes before the agent is loaded, which takes a third of a second.

After a crash packets wait in the kernel for whoever is started again.  What the supervisor has kept
is enough to forward by at once; the agent proper finds its planes at work.
"""

import os

from msgspec import Struct

from fwd.config import RunConfig
from fwd.node.confining import limit_system_calls
from fwd.node.handover.keeping import Revived, StoreKeeping, revive
from fwd.node.handover.store import Store
from fwd.node.rundir import RunDir
from fwd.ops import log


class Begun(Struct, frozen=True):
    """What there is before the agent."""

    run_dir: RunDir
    store: Store
    keeping: StoreKeeping
    revived: Revived


def begin(config: RunConfig) -> Begun:
    """Forwards again, if there is anything kept to forward by.  Raises ConfigError."""
    log.set_up(config.log_format)
    limit_system_calls(config)
    store = Store.of_environment(os.environ)
    keeping = StoreKeeping(store)
    run_dir = RunDir.enter(config.run_dir)
    if run_dir.is_ours:
        revived = revive(store, keeping)
    else:  # somebody else has begun since the crash
        keeping.drop_all()
        revived = Revived({}, keeping)
    if revived.devices:
        log.info("revived", devices=",".join(revived.devices))
    if store.is_there:
        store.put_lock(str(run_dir.path / RunDir.LOCK))
    return Begun(run_dir=run_dir, store=store, keeping=keeping, revived=revived)
