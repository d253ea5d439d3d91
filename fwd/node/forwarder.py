# SPDX-License-Identifier: Apache-2.0
"""What is in force on this node: its station, the peers' leases, and the tunnel that carries both.

A snapshot of leases becomes leases in force (`core.leases`), then a plan, then one commit; the
plane swaps whole tables, so a peer is in the table before its route, and a route is gone before its
peer, without any order of ours.  The one route in the kernel covers the whole network; those to
single peers (DirectRouting) come after the commit that adds their peer and go before the one that
removes it.

Whoever calls sees to it that no two calls overlap.
"""

import time
from collections.abc import Iterable

from msgspec.structs import replace

from fwd.config import RunConfig
from fwd.core.backoff import Backoff
from fwd.core.leases import LeaseBook
from fwd.core.netconf import NetConf
from fwd.core.plan import make_plan
from fwd.model import FwdError, Lease, OwnLease, Plan
from fwd.node.directroutes import DirectRoutes
from fwd.node.rundir import RunDir
from fwd.node.station import Station, find_station, follow_underlay
from fwd.node.subnetfile import SubnetEnv
from fwd.node.tunnel import Health, Tunnel
from fwd.ops import log


class Forwarder:
    """Forwards from begin() to close()."""

    def __init__(
        self, config: RunConfig, conf: NetConf, run_dir: RunDir, *, all_or_nothing: bool
    ) -> None:
        self._config = config
        self._conf = conf
        self._run_dir = run_dir
        self._all_or_nothing = all_or_nothing
        self._backoff = Backoff()
        self._leases: tuple[Lease, ...] = ()
        """The last ones in force, with those that were refused."""
        self.underlay_trouble: str | None = None
        """Why the underlay cannot be followed now, if it cannot."""
        self.direct = DirectRoutes(enabled=conf.backend.direct_routing)
        # Set by begin(), before anything else is called.
        self.own: OwnLease
        """This node's lease as its source said it, with the MAC that it has here."""
        self.station: Station
        self.book: LeaseBook
        self.tunnel: Tunnel

    async def begin(self, own: OwnLease, leases: Iterable[Lease]) -> None:
        """From nothing to packets that flow.  Whatever can be refused is, before any change.

        Raises FwdError or OSError, and has closed what it had opened.
        """
        station = await self._find_station(own)
        book = self._new_book(station)
        leases = tuple(leases)
        book.replace(leases)
        self._leases = leases
        self.own, self.station, self.book = _settled(own, station), station, book
        self._tell_station("underlay")
        self.tunnel = Tunnel(station.layout, station.settings)
        self.tunnel.commit(self._plan())
        await self.tunnel.open()
        await self._follow_links()

    async def take(self, own: OwnLease, leases: Iterable[Lease]) -> None:
        """Puts these leases into force.  What can be refused comes first, changes after it.

        Raises FwdError for leases that are refused, OSError; the last good ones stay then.
        """
        station, book = self.station, self.book
        own = _settled(own, station)
        if own != self.own:
            station = await self._find_station(own)
            if station.lease != self.station.lease:
                book = self._new_book(station)
        leases = tuple(leases)
        delta = book.replace(leases)
        self._leases = leases
        before = self.station
        self.own, self.station, self.book = _settled(own, station), station, book
        if station != before or delta:
            self.direct.doubt()
            await self.direct.withdraw(book.leases, family=station.lease.family)
        if station != before:
            self._tell_station("own-lease-changed")
            await self._move(before)
        elif delta:
            self.tunnel.commit(self._plan())
            log.info(
                "leases",
                added=delta.added,
                changed=delta.changed,
                removed=delta.removed,
                leases=len(book),
            )
        if station != before or delta:
            await self._follow_links()

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

    async def follow_underlay(self) -> None:
        """The underlay's address or MTU may be another one: moves there, once it can be used.

        A new MTU disturbs no packet.  A new address means new sockets; device and leases stay.
        """
        before = self.station
        try:
            station = await follow_underlay(before, self.own, self._config, self._conf)
            if station == before:
                self.underlay_trouble = None
                return
            book = self._new_book(station)
            book.replace(self._leases)
        except (FwdError, OSError) as error:
            if self.underlay_trouble != (text := reason(error)):
                log.warning("underlay-lost", error=text, kept=before.underlay.address)
            self.underlay_trouble = text
            return
        self.underlay_trouble = None
        self.station, self.book = station, book
        self._tell_station("underlay-changed")
        await self._move(before)

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
        await self.direct.look_again(self.book.leases, family=self.station.lease.family)
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
        log.info("tunnel-restored", device=self.station.layout.device, leases=len(self.book))

    async def _find_station(self, own: OwnLease) -> Station:
        return await find_station(own, self._config, self._conf, self._run_dir)

    def _new_book(self, station: Station) -> LeaseBook:
        return LeaseBook(
            [station.lease],
            networks=self._conf.networks,
            vni=station.lease.vni,
            all_or_nothing=self._all_or_nothing,
        )

    def _plan(self) -> Plan:
        return make_plan(self.book.leases, family=self.station.lease.family)

    async def _follow_links(self) -> None:
        await self.direct.follow(self.book.leases, family=self.station.lease.family)

    @property
    def subnet_env(self) -> SubnetEnv:
        """What Pods and their plugins have to know of the station."""
        station = self.station
        return SubnetEnv(
            networks={station.lease.family: station.layout.network},
            subnets={station.lease.family: station.lease.subnet},
            mtu=self._conf.backend.pod_mtu(station.underlay.mtu),
            ip_masq=self._config.ip_masq,
        )

    def tell_forwarding(self, *, leases_of: str) -> None:
        """Packets flow, by leases of the source or of a saved state."""
        log.info(
            "forwarding",
            node=self.station.lease.node,
            subnet=self.station.lease.subnet,
            device=self.station.layout.device,
            mtu=self.station.layout.mtu,
            leases=len(self.book),
            leases_of=leases_of,
        )

    def _tell_station(self, event: str) -> None:
        lease, underlay = self.station.lease, self.station.underlay
        log.info(
            event,
            node=lease.node,
            subnet=lease.subnet,
            public_ip=lease.public_ip,
            interface=underlay.name,
            address=underlay.address,
            mtu=underlay.mtu,
        )
        if self._config.public_ip not in (None, lease.public_ip):
            log.warning(
                "public-ip-differs",
                text=f"--public-ip is {self._config.public_ip}, but peers send to "
                f"{lease.public_ip}, as the own lease says",
            )


def _at_mtu_of(other: Station, station: Station) -> Station:
    """A station, were it not for its MTU."""
    return replace(
        station,
        underlay=replace(station.underlay, mtu=other.underlay.mtu),
        layout=replace(station.layout, mtu=other.layout.mtu),
        settings=replace(station.settings, mtu=other.settings.mtu),
    )


def _settled(own: OwnLease, station: Station) -> OwnLease:
    """A source that knows of no MAC means the one that we have, once we have one."""
    return own if own.vtep_mac else replace(own, vtep_mac=station.lease.vtep_mac)


def reason(error: FwdError | OSError) -> str:
    """An error as one line for a person."""
    return (isinstance(error, OSError) and error.strerror) or str(error)
