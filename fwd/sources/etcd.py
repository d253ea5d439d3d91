# SPDX-License-Identifier: Apache-2.0
"""Leases from etcd, where nodes that are in no Kubernetes cluster have them from.

The table is kept by `etcdwatch`, this node's own key in it by `etcdown`; what both have in common
with Kubernetes is `watched`'s.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import NoReturn

from msgspec import Struct

from fwd.core.etcdclaim import Who
from fwd.core.etcdlease import config_key, subnets_prefix
from fwd.core.etcdtable import LeaseTable
from fwd.core.lingering import Lingering
from fwd.core.netconf import NetConf
from fwd.core.subnetpool import make_pools
from fwd.model import Lease, OwnLease, Snapshot, SourceState
from fwd.ops import log
from fwd.sources.contact import RETRY_LONGEST_SECONDS, Contact, Side
from fwd.sources.etcdapi import EtcdApi
from fwd.sources.etcdkeys import LeaseKeys
from fwd.sources.etcdown import TTL_SECONDS, OwnKey, Terms
from fwd.sources.etcdwatch import LeaseWatch
from fwd.sources.watched import WatchedSource

LINGER_SECONDS = 0.5
"""Whoever is alive has its key back long before (25 ms on a busy machine)."""
RETURN_SECONDS = RETRY_LONGEST_SECONDS + 1.0
"""After an outage: then all others have been able to come back, too."""


class EtcdSettings(Struct, frozen=True):
    """What `fwd run` was told about etcd, but for the way there."""

    node_name: str
    """For people: to etcd a node is its address."""
    prefix: str = "/coreos.com/network"
    renew_margin: float = 3600.0
    """Seconds."""
    ttl: int = TTL_SECONDS


class EtcdSource(WatchedSource):
    """A `LeaseSource` that is an etcd.

    `conf_text` is what `conf` was made of, `contact` how it stands with that etcd; `who` finds out
    by what this node is known, as long as nothing is announced.  Raises ConfigError if the network
    has no room for subnets.
    """

    def __init__(
        self,
        settings: EtcdSettings,
        conf: NetConf,
        *,
        conf_text: bytes,
        api: EtcdApi,
        contact: Contact,
        who: Callable[[], Awaitable[Who]],
    ) -> None:
        super().__init__(contact)
        self._settings = settings
        self._conf_text = conf_text
        self._api = api
        self._told_conf: bytes | None = conf_text
        prefix = subnets_prefix(settings.prefix)
        terms = Terms(make_pools(conf), settings.ttl, settings.renew_margin)
        self._lingering = Lingering()
        self._table = LeaseTable(
            prefix=prefix, families=sorted(conf.networks), vni=conf.backend.vni
        )
        self._watch = LeaseWatch(
            api,
            self._table,
            prefix=prefix,
            pulse=self._look_at_conf,
            heard=self._contact.well,
            changed=self._on_changed,
        )
        keys = LeaseKeys(api, self._table, learned=self._on_changed)
        self._key = OwnKey(keys, self._table, terms, who=who, waiting=self._wait_for)

    def announce(self, leases: tuple[Lease, ...]) -> None:
        """Writes the leases into this node's key, and again whenever somebody undoes that."""
        self._key.announce(leases)

    def reconnect(self) -> None:
        """Without this a watch would end by its silence only."""
        self._api.reconnect()

    def ready(self) -> None:
        """Nobody waits for that."""

    def state(self) -> SourceState:
        """Where etcd is, and what is waited for."""
        return self._state(
            f"etcd {self._api.server}",
            watching=f"{len(self._table)} leases",
            is_current=self._table.is_listed,
        )

    async def _follow(self) -> NoReturn:
        while True:
            await self._contact.retrying(self._watch.round)

    async def _publish(self) -> NoReturn:
        while True:
            await self._contact.retrying(self._key.round, side=Side.PUBLISH)

    async def _close(self) -> None:
        await self._api.close()

    def _snapshot(self) -> Snapshot | None:
        subnets, macs = self._key.subnets, self._key.macs
        if not subnets or not self._table.is_listed:
            return None
        own = tuple(
            OwnLease(self._settings.node_name, subnets[family], vtep_mac=macs.get(family))
            for family in sorted(subnets)
        )
        name = self._key.name_among_others
        return Snapshot(
            own=own,
            leases=self._with_lingering(self._table.leases(but=name)),
            refused=self._table.refusals(but=name),
        )

    def _with_lingering(self, leases: tuple[Lease, ...]) -> tuple[Lease, ...]:
        """And another snapshot when the first of them is to go.

        While etcd is away nobody can come back, so nobody goes.
        """
        now = time.monotonic()
        back_at = self._watch.returned_at if self._contact.away is None else now
        at_least = back_at + RETURN_SECONDS
        leases = self._lingering.settle(
            self._key.leases, leases, now=now, until=now + LINGER_SECONDS, at_least=at_least
        )
        end = self._lingering.next_end()
        if end is not None:
            asyncio.get_running_loop().call_later(end - now, self._news.set)
        return leases

    def _is_in_force(self) -> bool:
        return bool(self._key.leases)

    def _on_changed(self) -> None:
        self._key.seen()
        self._news.set()

    async def _look_at_conf(self) -> None:
        """A network's configuration is read once, as flannel does; that it changed is said."""
        key = config_key(self._settings.prefix)
        found = await self._api.get(key)
        text = None if found is None else found.value
        if text == self._told_conf:
            return
        self._told_conf = text
        if text == self._conf_text:
            return
        what = "is gone from etcd" if text is None else "is another one in etcd by now"
        log.warning("net-conf-changed", key=key, text=f"{what}; restart the agent to go by it")
