# SPDX-License-Identifier: Apache-2.0
"""What an agent may still do, once it knows what it was asked for.

At its very beginning: rights belong to threads, and a thread begins with those of the one that made
it.  So nothing is left to be taken from threads that run, and what a lack of rights would break
later breaks the start, with a line.
"""

from fwd.config import RunConfig
from fwd.core import rights
from fwd.ops import log
from fwd.plane import keep_rights, limit_calls


def give_up_capabilities(config: RunConfig) -> None:
    """All but the few that are needed, here and in whatever is started from here.

    May be done again by a process that another one has started that did it already.
    """
    if config.confine == "off":
        return
    keep = rights.kept(healthz_port=config.healthz_port)
    effective = [one for one in keep if not one.for_programs_only]
    try:
        keep_rights(effective=rights.bits(effective), permitted=rights.bits(keep))
    except OSError as error:
        log.warning("not-confined", error=error.strerror)


def limit_system_calls(config: RunConfig) -> None:
    """To those of the list; where that cannot be the agent goes on without."""
    if config.confine not in {"full", "log"}:
        return
    try:
        limit_calls(refuse=config.confine == "full")
    except OSError as error:
        log.warning("calls-not-limited", error=error.strerror)
