# SPDX-License-Identifier: Apache-2.0
"""This node's own key: taken, written, kept alive, and taken again when it is gone.

Theory of operation.  One piece of work at a time, by what the table says now: without a key the
next step on the way to one (`core.etcdclaim`); with a key whose value is not what it should be, a
write; near its end, a renewal; else there is nothing to do until the next event.

flannel ends when its key is deleted.  Here forwarding would end with it, and the node's next start
would take the same subnet again, if it is free.  So that is done without an end in between.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

from msgspec import Struct

from fwd.core.etcdclaim import Create, Discard, Full, Reuse, Who, decide, older_rival
from fwd.core.etcdlease import encode_value, make_key
from fwd.core.etcdtable import Entry, LeaseTable
from fwd.core.subnetpool import Pool
from fwd.model import Lease, Network
from fwd.ops import log
from fwd.sources.etcdkeys import LeaseKeys
from fwd.sources.repairs import Repairs

TTL_SECONDS = 24 * 3600


class Terms(Struct, frozen=True):
    """Which subnets there are, how long a key lasts, how long before its end it is renewed."""

    pools: Mapping[int, Pool]
    ttl: int = TTL_SECONDS
    margin: float = 3600.0


class OwnKey:
    """Takes subnets for one node, and publishes its leases.

    `who` finds out by what the node is known; `waiting` is told what is waited for, or, empty, that
    nothing is.
    """

    def __init__(
        self,
        keys: LeaseKeys,
        table: LeaseTable,
        terms: Terms,
        *,
        who: Callable[[], Awaitable[Who]],
        waiting: Callable[[str], None],
    ) -> None:
        self._keys = keys
        self._table = table
        self._terms = terms
        self._find_who = who
        self._waiting = waiting
        self._announced: dict[int, Lease] = {}
        self._published = b""
        """A value that the key had once; another one is of somebody else's making."""
        self._created = 0
        """create_revision of the key: one of the same name with another is somebody else's."""
        self._renew_at = 0.0
        self._lost: Mapping[int, Network] = {}
        """The subnets of a key that we had and that went away."""
        self._wake = asyncio.Event()
        """Set until a round finds nothing that it can do."""
        self._repairs = Repairs(wake=self._wake.set)
        self.name = ""
        """The key, without prefix; empty: this node has none."""

    @property
    def leases(self) -> tuple[Lease, ...]:
        """What is to be published."""
        return tuple(self._announced.values())

    @property
    def name_among_others(self) -> str:
        """The key; also one that is being put back: the watch can tell of it before its maker."""
        if self.name or not self._announced:
            return self.name
        name = make_key({family: one.subnet for family, one in self._announced.items()})
        entry = self._table.entry(name)
        return name if entry is not None and entry.value == self._wanted(entry) else ""

    @property
    def subnets(self) -> Mapping[int, Network]:
        """Those of the key; while that is gone, those that it had; else the announced ones."""
        entry = self._table.entry(self.name) if self.name else None
        return entry.subnets if entry is not None else self._before

    @property
    def macs(self) -> Mapping[int, bytes]:
        """As they are announced, else as the key has them."""
        if self._announced:
            return {family: lease.vtep_mac for family, lease in self._announced.items()}
        entry = self._table.entry(self.name) if self.name else None
        if entry is None or entry.meaning is None:
            return {}
        return {family: data.vtep_mac for family, data in entry.meaning.backends.items()}

    def announce(self, leases: tuple[Lease, ...]) -> None:
        """Publishes these leases from now on, if they are of the subnets that the key has."""
        self._announced = {lease.family: lease for lease in leases}
        self._wake.set()

    def seen(self) -> None:
        """The table may be another than before."""
        self._wake.set()

    async def round(self) -> None:
        """Waits until something may be to do, and does it.  Raises ServerError or ConfigError."""
        await self._woken()
        if not self._table.is_listed:
            self._wake.clear()
            return
        entry = self._entry()
        if entry is None:
            await self._take()
            return
        value = self._wanted(entry)
        is_repair = value == self._published
        if value not in (None, entry.value) and self._may(entry.name, is_repair=is_repair):
            assert value is not None
            await self._write(entry, value, is_repair=is_repair)
        elif entry.lease_id and time.monotonic() >= self._renew_at:
            if await self._keys.keep_alive(entry, ttl=self._terms.ttl):
                self._schedule(self._terms.ttl)
        else:
            self._published = value or b""
            self._wake.clear()

    @property
    def _before(self) -> Mapping[int, Network]:
        """The subnets that this node goes by while it has no key."""
        return self._lost or {family: one.subnet for family, one in self._announced.items()}

    def _entry(self) -> Entry | None:
        """The key, if it is still there and still ours."""
        if not self.name:
            return None
        entry = self._table.entry(self.name)
        if entry is not None and entry.created == self._created:
            return entry
        self._lost, self.name = self._before, ""
        return None

    async def _woken(self) -> None:
        """Waits for the next event, or the time to renew."""
        entry = self._table.entry(self.name) if self.name else None
        left = self._renew_at - time.monotonic() if entry and entry.lease_id else None
        with suppress(TimeoutError):
            async with asyncio.timeout(left):
                await self._wake.wait()

    # On the way to a key.

    async def _take(self) -> None:
        """One step."""
        announced = self._announced
        who = await self._look_who()
        if self._announced is not announced:
            return  # to look again, by what was announced meanwhile
        step = decide(self._table, self._terms.pools, who, choose=random.randrange)
        match step:
            case Full():
                self._waiting(f"out of subnets: {step.text}")
                self._wake.clear()
            case Discard():
                log.warning("lease-discarded", key=step.entry.name, text=step.reason)
                await self._keys.delete(step.entry)
            case Reuse():
                log.info("lease-found", key=step.entry.name)
                self._own(step.entry)
            case Create():
                await self._create(step.subnets, who)

    async def _look_who(self) -> Who:
        if not self._announced:
            return await self._find_who()
        return Who(
            public_ips={one.family: one.public_ip for one in self.leases},
            macs=self.macs,
            previous=self._before,
        )

    async def _create(self, subnets: Mapping[int, Network], who: Who) -> None:
        name, before = make_key(subnets), self._before
        is_settled = {family: one.subnet for family, one in self._announced.items()} == subnets
        value = encode_value(who.public_ips, self._announced if is_settled else None)
        is_news = is_settled and value != self._published
        is_repair = bool(self._lost) and not is_news
        if not self._may(name, is_repair=is_repair):
            self._wake.clear()
            return
        entry = await self._keys.create(name, value, ttl=self._terms.ttl)
        if is_repair:
            self._repairs.done()  # also of a race that is lost: somebody was at the key again
        if entry is None:
            return  # somebody was faster: the next round knows
        rival = older_rival(self._table, entry)
        if rival is not None:
            log.warning("lease-discarded", key=name, text=f"{rival.name} was faster")
            await self._keys.withdraw(entry)
            return
        if is_settled:
            self._published = value
        self._tell_taken(entry, before)
        self._own(entry, ttl=self._terms.ttl)

    def _may(self, name: str, *, is_repair: bool) -> bool:
        """What somebody keeps undoing is not put back as fast as one can; all else is written."""
        return not is_repair or self._repairs.may("lease-fought-over", key=name)

    def _tell_taken(self, entry: Entry, before: Mapping[int, Network]) -> None:
        if before and entry.subnets != before:
            log.warning(
                "own-subnet-changed",
                key=entry.name,
                text=f"{make_key(before)} belongs to another node by now; the Pods of this node "
                "need new addresses",
            )
        elif self._lost:
            log.warning(
                "lease-put-back", key=entry.name, text="it had been deleted, or had expired"
            )
        else:
            log.info("lease-taken", key=entry.name)

    def _own(self, entry: Entry, *, ttl: int = 0) -> None:
        """This key is ours; of one that was found nobody knows how long it lasts yet."""
        self.name, self._created, self._lost = entry.name, entry.created, {}
        self._schedule(ttl)
        self._waiting("")
        self._wake.set()

    # With a key.

    def _wanted(self, entry: Entry) -> bytes | None:
        """The value that the key should have; None while that is not settled."""
        if {family: one.subnet for family, one in self._announced.items()} != entry.subnets:
            return None
        public_ips = {family: one.public_ip for family, one in self._announced.items()}
        return encode_value(public_ips, self._announced)

    async def _write(self, entry: Entry, value: bytes, *, is_repair: bool) -> None:
        """The key's value; a lease stays as it is, and so does a reservation."""
        is_written = await self._keys.write(entry, value, lease_id=entry.lease_id)
        if is_repair:
            self._repairs.done()
        if not is_written:
            return
        self._published = value
        if is_repair:
            log.warning("lease-repaired", key=entry.name)
        else:
            log.info("lease-published", key=entry.name)

    def _schedule(self, ttl: int) -> None:
        """When to renew: the margin before the end; of a shorter lease when half of it is over."""
        left = ttl - self._terms.margin
        self._renew_at = time.monotonic() + (left if left > 0 else ttl / 2)
