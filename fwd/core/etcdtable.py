# SPDX-License-Identifier: Apache-2.0
"""All leases of an etcd as it told of them, by key.

Theory of operation.  A list replaces everything that was known before it was asked for: a store
restored from a backup goes back in time, and is right.  Else only what is newer counts: what
happens to a key has a revision, and must be of a later one than what is known of it, so that what
is heard twice (by a watch and as the answer to a request of ours) changes nothing.  A deleted key
leaves its revision behind (`core.gone`), or an old answer would bring it back.
"""

from collections.abc import Iterable

from msgspec import Struct

from fwd.core.etcdlease import LeaseValue, decode_value, parse_key
from fwd.core.etcdrpc import KeyValue
from fwd.core.gone import Gone
from fwd.core.refusing import refusal
from fwd.model import IPV4, Lease, Network, Refusal


class Entry(Struct, frozen=True):
    """A key and what it means.  One that is at fault holds its subnets all the same."""

    name: str
    """The key, without prefix."""
    value: bytes
    created: int
    """Revision: of two keys the smaller one was there first."""
    modified: int
    lease_id: int
    """0: it does not expire, it is a reservation."""
    subnets: dict[int, Network]
    meaning: LeaseValue | None = None
    leases: tuple[Lease, ...] = ()
    faults: tuple[str, ...] = ()

    @property
    def node(self) -> str:
        """etcd knows no names of nodes: their address is what sets them apart."""
        return _node(self.meaning, self.name)


class LeaseTable:
    """Leases by key."""

    def __init__(self, *, prefix: str, families: Iterable[int], vni: int) -> None:
        """`prefix` is what all keys begin with, up to `subnets/`."""
        self._prefix = prefix.encode()
        self._families = tuple(families)
        self._vni = vni
        self._entries: dict[str, Entry] = {}
        self._ended = Gone()
        self._since: dict[str, tuple[bool, KeyValue]] | None = None
        """While a list is under way: what was put (True) or deleted meanwhile."""
        self._listed = -1
        self._complete_to = -1

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def is_listed(self) -> bool:
        """Whether there was a list."""
        return self._listed >= 0

    @property
    def complete_to(self) -> int:
        """Revision up to which nothing is missing here; what was done since is, in part."""
        return self._complete_to

    @complete_to.setter
    def complete_to(self, revision: int) -> None:
        self._complete_to = revision
        self._ended.trim(told=revision)

    @property
    def prefix(self) -> bytes:
        """What all keys begin with."""
        return self._prefix

    def key(self, name: str) -> bytes:
        """The whole key."""
        return self._prefix + name.encode()

    def entry(self, name: str) -> Entry | None:
        """What is known of one key."""
        return self._entries.get(name)

    def by_age(self) -> list[Entry]:
        """All of them, the oldest first."""
        return sorted(self._entries.values(), key=lambda entry: (entry.created, entry.name))

    def taken(self) -> list[Network]:
        """Every subnet that somebody has."""
        return [subnet for entry in self._entries.values() for subnet in entry.subnets.values()]

    def begin_list(self) -> None:
        """A list is asked for; it may be older than what is heard from now on."""
        self._since = {}

    def replace(self, listed: Iterable[KeyValue], *, revision: int) -> bool:
        """Makes a complete list all that is known.  Whether anything changed.

        But what was heard since it was asked for counts if it is newer.
        """
        before, self._entries = self._entries, {}
        self._ended.clear()
        since, self._since = self._since or {}, None
        self._listed = self.complete_to = revision
        for kv in listed:
            name = self._name(kv)
            self._entries[name] = self._entry(name, kv, before.get(name))
        for is_put, kv in since.values():
            (self.put if is_put else self.delete)(kv)
        return before != self._entries

    def put(self, kv: KeyValue) -> bool:
        """A key as it is since its mod_revision.  Whether that is news."""
        name = self._name(kv)
        known = self._entries.get(name)
        if kv.mod_revision <= self._seen(name, known):
            return False
        self._entries[name] = self._entry(name, kv, known)
        if self._since is not None:
            self._since[name] = True, kv
        return True

    def delete(self, kv: KeyValue) -> bool:
        """A key is gone since kv's mod_revision.  Whether that is news."""
        name = self._name(kv)
        known = self._entries.get(name)
        if kv.mod_revision <= self._seen(name, known):
            return False
        self._ended.note(name, kv.mod_revision)
        if self._since is not None:
            self._since[name] = False, kv
        return self._entries.pop(name, None) is not None

    def leases(self, *, but: str = "") -> tuple[Lease, ...]:
        """Every lease, the oldest key's first, without those of one key."""
        return tuple(
            lease for entry in self.by_age() if entry.name != but for lease in entry.leases
        )

    def refusals(self, *, but: str = "") -> tuple[Refusal, ...]:
        """The keys that have something to say and cannot be understood."""
        return tuple(
            refusal(entry.node, fault)
            for entry in sorted(self._entries.values(), key=lambda entry: entry.name)
            if entry.name != but
            for fault in entry.faults
        )

    def _name(self, kv: KeyValue) -> str:
        return kv.key.removeprefix(self._prefix).decode("utf-8", errors="replace")

    def _seen(self, name: str, known: Entry | None) -> int:
        return max(self._listed, self._ended.since(name)) if known is None else known.modified

    def _entry(self, name: str, kv: KeyValue, known: Entry | None) -> Entry:
        if known is not None and (known.value, known.created, known.modified, known.lease_id) == (
            kv.value,
            kv.create_revision,
            kv.mod_revision,
            kv.lease,
        ):
            return known
        if known is not None and known.value == kv.value:  # a renewal: leases stay the objects
            subnets, meaning = known.subnets, known.meaning
            leases, faults = known.leases, known.faults
        else:
            subnets, meaning, leases, faults = self._read(name, kv.value)
        return Entry(
            name=name,
            value=kv.value,
            created=kv.create_revision,
            modified=kv.mod_revision,
            lease_id=kv.lease,
            subnets=subnets,
            meaning=meaning,
            leases=leases,
            faults=faults,
        )

    def _read(
        self, name: str, value: bytes
    ) -> tuple[dict[int, Network], LeaseValue | None, tuple[Lease, ...], tuple[str, ...]]:
        try:
            subnets = parse_key(name)
        except ValueError as error:
            return {}, None, (), (f"lease {name}: {error}",)
        try:
            meaning = decode_value(value)
        except ValueError as error:
            return subnets, None, (), (f"lease {name}: {error}",)
        if not meaning.backend_type:  # a reservation, or an agent that is about to start
            return subnets, meaning, (), ()
        if meaning.backend_type != "vxlan":
            fault = f"lease {name}: ignoring non-vxlan: type={meaning.backend_type}"
            return subnets, meaning, (), (fault,)
        leases: list[Lease] = []
        faults: list[str] = []
        for family in self._families:
            made = self._lease(subnets, meaning, family)
            if isinstance(made, Lease):
                leases.append(made)
            elif family == IPV4 or family in subnets:
                faults.append(f"lease {name}: {made}")
        return subnets, meaning, tuple(leases), tuple(faults)

    def _lease(self, subnets: dict[int, Network], meaning: LeaseValue, family: int) -> Lease | str:
        """A family's lease, or why there is none."""
        if family not in subnets:
            return f"its key names no IPv{family} subnet"
        kind = "" if family == IPV4 else "v6"
        if family not in meaning.public_ips:
            return f"PublicIP{kind} is missing"
        data = meaning.backends.get(family)
        if data is None:
            fault = meaning.faults.get(family, "is missing")
            return f"Backend{kind.upper()}Data: {fault}"
        return Lease(
            node=_node(meaning, ""),
            subnet=subnets[family],
            public_ip=meaning.public_ips[family],
            vtep_mac=data.vtep_mac,
            vni=self._vni if data.vni is None else data.vni,
        )


def _node(meaning: LeaseValue | None, name: str) -> str:
    if meaning is None or not meaning.public_ips:
        return name
    return str(meaning.public_ips[min(meaning.public_ips)])
