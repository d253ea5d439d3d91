# SPDX-License-Identifier: Apache-2.0
"""One family's forwarding: its station, its peers' leases, and the tunnel that carries both.

Leases in force (`node.forwarding` says which) become a plan, then one commit; the plane swaps whole
tables, so a peer is in the table before its route, and a route is gone before its peer, without any
order of ours.  The one route in the kernel covers the whole network; those to single peers
(DirectRouting) come after the commit that adds their peer and go before the one that removes it.

Whoever calls sees to it that no two calls overlap.
"""

import time
from collections.abc import Iterable

from msgspec.structs import replace

from fwd.core.backoff import Backoff
from fwd.core.plan import make_plan
from fwd.model import FwdError, Lease, Plan
from fwd.node.directroutes import DirectRoutes
from fwd.node.handover.legacy import Succession
from fwd.node.station import Station
from fwd.node.tunnel import Health, Tunnel
from fwd.ops import log


class Forwarder:
    """Forwards from begin() to close()."""

    def __init__(self, family: int, succession: Succession, *, direct_routing: bool) -> None:
        self.family = family
        self._succession = succession
        self._backoff = Backoff()
        self.leases: tuple[Lease, ...] = ()
        """Of the peers, those of this family that are in force."""
        self.direct = DirectRoutes(family, enabled=direct_routing)
        # Set by begin(), before anything else is called.
        self.station: Station
        self.tunnel: Tunnel

    async def begin(self, station: Station, leases: Iterable[Lease]) -> None:
        """From nothing to packets that flow.

        Raises FwdError or OSError, and has closed what it had opened.
        """
        self.station, self.leases = station, self._of_family(leases)
        self.tunnel = Tunnel(station.layout, station.settings, self._succession)
        self.tunnel.commit(self._plan())
        await self.tunnel.open()

    async def follow_direct(self) -> None:
        """What comes after begin(), once nobody waits for this process any more."""
        await self.direct.follow(self.leases)

    async def take(self, station: Station, leases: Iterable[Lease]) -> None:
        """Puts these leases into force, there.  Nothing is done where nothing has changed.

        After an OSError it tries again by itself.
        """
        before, mine = self.station, self._of_family(leases)
        if (station, mine) == (before, self.leases):
            return
        self.station, self.leases = station, mine
        self.direct.doubt()
        await self.direct.withdraw(mine)
        await self._move(before)
        await self.direct.follow(mine)

    async def _move(self, before: Station) -> None:
        """To where the new station is; the tunnel is made anew only if it must be another one."""
        station = self.station
        if (station.layout, station.settings) == (before.layout, before.settings):
            self.tunnel.commit(self._plan())
        elif _at_mtu_of(before, station) == before:
            self.tunnel.plan = self._plan()
            await self.tunnel.resize(station.layout, station.settings)
        else:
            self.tunnel.reshape(station.layout, station.settings, self._plan())
            await self._reopen()

    async def look_after_links(self) -> None:
        """Links changed: repairs the device, or makes it anew."""
        self.direct.doubt()
        if self.tunnel.plane is None:
            return
        health = await self.tunnel.check()
        if health is Health.LOST:
            log.warning("device-lost", device=self.station.layout.device)
            await self._reopen()

    async def look_after_tunnel(self) -> None:
        """Once a second: tries again what failed, and sees to what was doubted."""
        await self.direct.look_again(self.leases)
        if self.tunnel.plane is None:
            await self._reopen()
        elif self.tunnel.behind:
            self.tunnel.recommit()

    def close(self) -> None:
        """Stops forwarding; the device stays."""
        self.tunnel.close()

    async def _reopen(self) -> None:
        """Makes a closed tunnel anew, with all its leases, or says when it will be tried again."""
        now = time.monotonic()
        if not self._backoff.due(now):
            return
        try:
            await self.tunnel.open()
        except (FwdError, OSError) as error:
            again = self._backoff.failed(now)
            log.warning("tunnel-down", error=reason(error), again_in_seconds=again)
            return
        self._backoff.succeeded()
        log.info("tunnel-restored", device=self.station.layout.device, leases=len(self.leases))

    def _of_family(self, leases: Iterable[Lease]) -> tuple[Lease, ...]:
        return tuple(lease for lease in leases if lease.family == self.family)

    def _plan(self) -> Plan:
        return make_plan(self.leases, family=self.family)


def _at_mtu_of(other: Station, station: Station) -> Station:
    """A station, were it not for its MTU."""
    return replace(
        station,
        underlay=replace(station.underlay, mtu=other.underlay.mtu),
        layout=replace(station.layout, mtu=other.layout.mtu),
        settings=replace(station.settings, mtu=other.settings.mtu),
    )


def reason(error: FwdError | OSError) -> str:
    """An error as one line for a person."""
    return (isinstance(error, OSError) and error.strerror) or str(error)
