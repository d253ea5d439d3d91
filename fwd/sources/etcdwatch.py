# SPDX-License-Identifier: Apache-2.0
"""List, mark, watch, and begin again: keeps a LeaseTable as etcd has it.

Each round begins with a list, which replaces the table by value.  A watch could go on from the last
revision that was heard, but only as long as the store is the same one: after a backup is restored
that revision may be of another history, and nothing that etcd says tells.  A list of 5,000 leases
is 1 MB, and a few milliseconds of etcd's time.

A watch says nothing where nothing happens.  So every now and then there is a pulse, a request of
the caller's choice: if it fails the round does, too.
"""

import math
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing

from fwd.core import etcdrpc as rpc
from fwd.core.etcdtable import LeaseTable
from fwd.ops import log
from fwd.sources.contact import Ending
from fwd.sources.etcdapi import Compacted, EtcdApi


class LeaseWatch:
    """One round at a time.  `heard` is called when a watch speaks, `changed` after changes."""

    def __init__(
        self,
        api: EtcdApi,
        table: LeaseTable,
        *,
        prefix: str,
        pulse: Callable[[], Awaitable[None]],
        heard: Callable[[], None],
        changed: Callable[[], None],
    ) -> None:
        self._api = api
        self._table = table
        self._prefix = prefix
        self._pulse = pulse
        self._heard = heard
        self._changed = changed
        self.listed = False
        self.returned_at = -math.inf
        """When the last list came that was not the first, by the clock that only goes forward."""

    async def round(self) -> Ending:
        """A list, then a watch to its end.  Raises ServerError or ConfigError."""
        self._table.begin_list()
        found, revision = await self._api.list(self._prefix)
        if revision < self._table.complete_to:
            log.warning(
                "etcd-went-back",
                revision=revision,
                before=self._table.complete_to,
                text="its store is of an earlier time, as a restored backup is; that holds now",
            )
        changed = self._table.replace(found, revision=revision)
        if self.listed:
            self.returned_at = time.monotonic()
        if changed or not self.listed:
            self.listed = True
            self._changed()
        await self._pulse()
        heard = False
        watch = self._api.watch(self._prefix, after=revision)
        try:
            async with aclosing(watch):
                async for answer in watch:
                    if answer is None:
                        await self._pulse()
                    else:
                        self._heard()
                        heard |= self._take(answer)
        except Compacted:
            log.info("etcd-compacted", text="its history is cut behind what was heard; listed anew")
            return Ending.HEARD if heard else Ending.QUIET
        return Ending.HEARD

    def _take(self, answer: rpc.WatchResponse) -> bool:
        """Takes in events.  Whether there were any."""
        changed = False
        for event in answer.events:
            apply = self._table.delete if event.type == rpc.DELETE else self._table.put
            changed |= apply(event.kv)
        self._table.complete_to = max(self._table.complete_to, reached(answer))
        if changed:
            self._changed()
        return bool(answer.events)


def reached(answer: rpc.WatchResponse) -> int:
    """The revision up to which a watch has told everything; 0: it does not say.

    The header of an answer with events may be ahead of others that are still to come, and so may be
    that of the first answer.
    """
    if answer.events:
        return answer.events[-1].kv.mod_revision
    return 0 if answer.created else answer.header.revision
