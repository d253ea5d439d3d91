# SPDX-License-Identifier: Apache-2.0
"""Which subnets a node takes, in flannel's order (flannel spec 4.2).

1. Those of a key that has its public address.  2. Those that it had before, if nobody has them.
3. Free ones, drawn at random.

Of a network that has lost or gained a family a node keeps what it had of the other one, as its
Pods' addresses are of that; flannel draws all anew.  Where flannel knows a node by its IPv4 address
only, its VTEP's MAC is good too: an agent that comes back with another address finds its own key by
that.
"""

from collections.abc import Callable, Mapping

from msgspec import Struct

from fwd.core.etcdtable import Entry, LeaseTable
from fwd.core.subnetpool import Pool, allocate, free_subnets
from fwd.model import Address, Network


class Who(Struct, frozen=True):
    """A node, by what its keys are known; all by family."""

    public_ips: Mapping[int, Address]
    macs: Mapping[int, bytes] = {}
    previous: Mapping[int, Network] = {}
    """Subnets that it had, by an earlier subnet.env."""


class Reuse(Struct, frozen=True):
    """This key is the node's."""

    entry: Entry


class Create(Struct, frozen=True):
    """A key for these subnets, which nobody has."""

    subnets: Mapping[int, Network]


class Discard(Struct, frozen=True):
    """This key is the node's, and of no use: delete it."""

    entry: Entry
    reason: str


class Full(Struct, frozen=True):
    """There is no free subnet."""

    text: str


def decide(
    table: LeaseTable,
    pools: Mapping[int, Pool],
    who: Who,
    *,
    choose: Callable[[int], int],
) -> Reuse | Create | Discard | Full:
    """The next step on the way to a subnet.  `choose` as `allocate` wants it."""
    previous = {family: subnet for family, subnet in who.previous.items() if family in pools}
    mine = [
        entry
        for entry in table.by_age()
        if _has_address_of(entry, who) or _has_mac_of(entry, who, (who.previous, previous))
    ]
    mine.sort(key=lambda entry: entry.subnets != previous)
    # An operator's reservation is the operator's to delete.
    for entry in mine:
        if not fits(entry.subnets, pools):
            continue
        rival = older_rival(table, entry) if entry.lease_id else None
        if rival is not None and rival not in mine:
            return Discard(entry, f"{rival.name} was faster")
        return Reuse(entry)
    for entry in mine:
        if entry.lease_id:
            return Discard(entry, "it does not fit into the network")
    taken = table.taken()
    kept = {
        family: subnet
        for family, subnet in previous.items()
        if subnet in pools[family] and not overlap({family: subnet}, taken)
    }
    others = {family: pool for family, pool in pools.items() if family not in kept}
    found = allocate(others, taken, choose=choose)
    if found is not None:
        return Create(kept | found)
    full = [pool for pool in pools.values() if not free_subnets(pool, taken, limit=1)]
    return Full("; ".join(f"all {one.count} from {one[0]} to {one[-1]} are taken" for one in full))


def _has_address_of(entry: Entry, who: Who) -> bool:
    if entry.meaning is None:
        return False
    leading = min(who.public_ips)
    return entry.meaning.public_ips.get(leading) == who.public_ips[leading]


def _has_mac_of(entry: Entry, who: Who, subnets: tuple[Mapping[int, Network], ...]) -> bool:
    """Whether it is a key of some of these subnets, and of our VTEP."""
    if entry.meaning is None or entry.subnets not in subnets:
        return False
    backends = entry.meaning.backends
    return any(
        family in backends and backends[family].vtep_mac == mac for family, mac in who.macs.items()
    )


def fits(subnets: Mapping[int, Network], pools: Mapping[int, Pool]) -> bool:
    """Whether these are one subnet of each pool and nothing else."""
    return subnets.keys() == pools.keys() and all(
        subnet in pools[family] for family, subnet in subnets.items()
    )


def overlap(subnets: Mapping[int, Network], taken: list[Network]) -> bool:
    """Whether somebody has one of these, or a part of it."""
    return any(
        subnet.version == other.version and subnet.overlaps(other)
        for subnet in subnets.values()
        for other in taken
    )


def older_rival(table: LeaseTable, own: Entry) -> Entry | None:
    """A key that was there before and has a part of what ours has.

    Keys keep each other away only where they are the same text: of two nodes that drew different
    IPv4 subnets and one IPv6 subnet, the one that came second has to draw again.
    """
    for entry in table.by_age():
        if (entry.created, entry.name) >= (own.created, own.name):
            return None
        if overlap(own.subnets, list(entry.subnets.values())):
            return entry
    return None
