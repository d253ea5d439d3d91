# SPDX-License-Identifier: Apache-2.0
"""DirectRouting: kernel routes to the subnets of peers on our link, kept while the agent runs.

Which there should be is `core.directroutes`'; the tunnel carries whatever has none, so nothing here
is ever in the way of forwarding: what fails is said once and tried again.  Packets that come by
such a route need nothing: the kernel forwards them to the bridge like any others.

A route by a gateway to just a peer's subnet that has no mark of ours is an earlier flannel's, which
would put its own in its place, too; whatever else others have routed is left alone.  It outlives
flannel, and may lead to a subnet that nobody has yet.  So without DirectRouting, too, one looks
whenever there is a subnet that was not there before.
"""

import asyncio
from collections.abc import Callable, Iterable

from fwd.core.directroutes import changes, wanted_routes
from fwd.model import Lease, Network
from fwd.node import routetable
from fwd.ops import log


class DirectRoutes:
    """Those of one family.  One call at a time."""

    def __init__(self, family: int, *, enabled: bool) -> None:
        self._family = family
        self._enabled = enabled
        self._stale = True
        """Whether the kernel may have others than we want; without DirectRouting: an earlier
        start's."""
        self._looked: frozenset[Network] = frozenset()
        """The subnets at the last look; only kept without DirectRouting."""
        self._trouble: str | None = None
        self.count = 0

    async def withdraw(self, leases: Iterable[Lease]) -> None:
        """Removes the routes of all but these peers, before the table forgets them."""
        if self.count:
            kept = {lease.subnet for lease in leases}
            await self._guarded(lambda: self._remove_all_but(kept))

    async def follow(self, leases: Iterable[Lease]) -> None:
        """Asks the kernel which of these peers are on-link now, and makes the routes so."""
        there = tuple(leases)
        if not self._enabled:
            before, self._looked = self._looked, frozenset(lease.subnet for lease in there)
            self._stale = self._stale or not self._looked <= before
        if self._enabled or self._stale:
            self._stale = not await self._guarded(lambda: self._apply(there))

    def doubt(self) -> None:
        """Something has changed that may matter: look_again() has work to do."""
        self._stale = self._stale or self._enabled

    async def look_again(self, leases: Iterable[Lease]) -> None:
        """follow(), if it was doubted; called seldom enough to join what changes in a burst."""
        if self._stale:
            await self.follow(leases)

    async def _guarded(self, work: Callable[[], str | None]) -> bool:
        try:
            trouble = await asyncio.to_thread(work)
        except OSError as error:
            trouble = error.strerror or str(error)
        if trouble is not None and trouble != self._trouble:
            log.warning(
                "direct-routes-trouble", error=trouble, text="these peers stay in the tunnel"
            )
        self._trouble = trouble
        return trouble is None

    def _remove_all_but(self, kept: set[Network]) -> None:
        held = [route for route in routetable.held(self._family) if not route.blackhole]
        routetable.remove(route for route in held if route.prefix not in kept)

    def _apply(self, leases: tuple[Lease, ...]) -> str | None:
        on_link = routetable.on_link(one.public_ip for one in leases) if self._enabled else set()
        wanted = wanted_routes(leases, family=self._family, on_link=on_link)
        held = routetable.held(self._family)
        there = {route.prefix: route for route in held if not route.blackhole}
        todo = changes(wanted, {prefix: route.via for prefix, route in there.items()})
        flannels = _of_flannel(leases, family=self._family)
        routetable.remove([*(there[prefix] for prefix in todo.removed), *flannels])
        refused = routetable.put(todo.added)
        self.count = len(wanted) - len(refused)
        if flannels:
            log.info("flannels-routes-removed", routes=len(flannels), first=flannels[0])
        if todo.removed or len(todo.added) > len(refused):
            log.info(
                "direct-routes",
                added=len(todo.added) - len(refused),
                removed=len(todo.removed),
                routes=self.count,
            )
        if refused:
            prefix, why = next(iter(refused.items()))
            return f"{len(refused)} refused, such as {prefix} via {wanted[prefix]}: {why}"
        return None


def _of_flannel(leases: tuple[Lease, ...], *, family: int) -> list[routetable.Held]:
    subnets = {lease.subnet for lease in leases}
    return [
        route
        for route in routetable.held(family, protocol=routetable.BOOT)
        if route.prefix in subnets and route.via is not None
    ]
