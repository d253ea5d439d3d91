# SPDX-License-Identifier: Apache-2.0
"""All Nodes of the cluster as the API server told of them, and the leases that they claim.

Theory of operation.  A list replaces everything that was known before it was asked for: a server
restored from a backup goes back in time, and is right.  Else only what is newer counts: each
object's resourceVersion must exceed the one it is known by, so that events which come twice or in
the wrong order change nothing (versions of one resource are decimal numbers that grow, KEP-5504;
those of a server that has others are taken as they come).  A deleted Node leaves its version
behind (`core.gone`), or an old event would bring it back; after the next list that list's own
version does the same.  A list of many pages takes time, and all of it is as old as its first page:
the answer to a patch of ours that comes meanwhile stays, if it is newer.

A heartbeat changes a Node in none of the values that are decoded here, and ends at one comparison.
"""

from collections.abc import Iterable

from msgspec import Struct

from fwd.core.gone import Gone
from fwd.core.nodelease import Claims, claims
from fwd.core.nodewire import Changed, Deleted, Node, Unusable
from fwd.core.refusing import refusal
from fwd.model import Lease, Refusal

_VERSION_DIGITS = 20


class _Known(Struct, frozen=True):
    node: Node
    claims: Claims


class NodeTable:
    """Nodes by name."""

    def __init__(self, *, families: Iterable[int], vni: int) -> None:
        self._families = tuple(families)
        self._vni = vni
        self._known: dict[str, _Known] = {}
        self._versions: dict[str, int] = {}
        """Of those that are there."""
        self._gone = Gone()
        self._floor = -1
        self._unusable: dict[str, str] = {}
        self._since: dict[str, Changed | Deleted | Unusable] | None = None
        """The last word on each Node since a list was asked for that has not come yet."""

    def __len__(self) -> int:
        return len(self._known)

    def node(self, name: str) -> Node | None:
        """What is known of one Node."""
        known = self._known.get(name)
        return None if known is None else known.node

    def begin_list(self) -> None:
        """A list is asked for; it may be older than what is heard from now on."""
        self._since = {}

    def replace(self, listed: Iterable[Changed | Unusable], *, version: str = "") -> bool:
        """Makes a complete list, of one version, all that is known.  Whether anything changed.

        But what was heard since it was asked for counts if it is newer.
        """
        before_known, before_unusable = self._known, self._unusable
        since, self._since = self._since, None
        order = version_order(version)
        self._floor = -1 if order is None else order
        self._known, self._unusable, self._versions = {}, {}, {}
        self._gone.clear()
        for item in listed:
            self._enter(item, before_known)
        if since is not None and order is not None:
            for event in sorted(since.values(), key=lambda one: int(one.version)):
                self.apply(event)
        return before_known != self._known or before_unusable != self._unusable

    def apply(self, event: Changed | Deleted | Unusable) -> bool:
        """Takes in one event.  Whether it changed anything."""
        name = event.node.name if isinstance(event, Changed) else event.name
        order = version_order(event.version)
        if order is not None:
            if order <= max(self._floor, self._versions.get(name, self._gone.since(name))):
                return False
            self._versions[name] = order
            if self._since is not None:
                self._since[name] = event
        if isinstance(event, Deleted):
            return self._delete(name)
        if isinstance(event, Changed):
            known = self._known.get(name)
            if known is not None and known.node == event.node:
                return False
        elif self._unusable.get(name) == event.reason:
            return False
        self._enter(event, self._known)
        return True

    def _delete(self, name: str) -> bool:
        """Whether it was there."""
        order = self._versions.pop(name, None)
        if order is not None:
            self._gone.note(name, order)
            self._gone.trim(told=order)  # only a watch tells of this, and in its order
        known = self._known.pop(name, None)
        return (self._unusable.pop(name, None) or known) is not None

    def _enter(self, item: Changed | Unusable, before: dict[str, _Known]) -> None:
        """Notes one Node.  One that cannot be decoded has no lease, whatever it had before."""
        name = item.node.name if isinstance(item, Changed) else item.name
        if not name:
            return
        order = version_order(item.version)
        if order is not None:
            self._versions[name] = order
        if isinstance(item, Unusable):
            self._known.pop(name, None)
            self._unusable[name] = item.reason
            return
        self._unusable.pop(name, None)
        known = before.get(name)
        if known is None or known.node != item.node:
            made = claims(item.node, families=self._families, vni=self._vni)
            known = _Known(item.node, made)
        self._known[name] = known

    def leases(self) -> tuple[Lease, ...]:
        """Every lease that is claimed, the oldest Node's first.

        Age is creationTimestamp, which the API server sets and nobody can change; between Nodes of
        one second the name decides, so that all agents decide alike.
        """
        by_age = sorted(
            self._known.values(), key=lambda known: (known.node.created or "~", known.node.name)
        )
        return tuple(lease for known in by_age for lease in known.claims.leases)

    def refusals(self) -> tuple[Refusal, ...]:
        """The Nodes that have something to say and cannot be understood."""
        found = [
            refusal(name, fault)
            for name, known in self._known.items()
            for fault in known.claims.faults
        ]
        found += [
            refusal(name, f"node {name}: {reason}") for name, reason in self._unusable.items()
        ]
        return tuple(sorted(found, key=lambda one: (one.node, one.reason)))


def version_order(version: str) -> int | None:
    """A resourceVersion as a number, if it is one of 64 bits: etcd has no others."""
    if version.isascii() and version.isdecimal() and len(version) < _VERSION_DIGITS:
        return int(version)
    return None
