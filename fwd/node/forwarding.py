# SPDX-License-Identifier: Apache-2.0
"""What is in force on this node: of each family that is on a forwarder, and one book of leases.

A snapshot of leases becomes leases in force (`core.leases`) for all families together, so that what
is refused is refused before any change.  From there on a family knows nothing of the other: what
fails in one, or moves, does not touch the packets of the other.

Whoever calls sees to it that no two calls overlap.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import ExitStack

from msgspec.structs import replace

from fwd.config import RunConfig
from fwd.core.leases import LeaseBook, LeasesError
from fwd.core.netconf import NetConf
from fwd.model import Address, FwdError, Lease, OwnLease
from fwd.node.forwarder import Forwarder, reason
from fwd.node.handover.legacy import Succession
from fwd.node.rundir import RunDir
from fwd.node.station import (
    Station,
    find_station,
    follow_underlay,
    tell_station,
    warn_of_public_ip,
)
from fwd.node.subnetfile import SubnetEnv
from fwd.node.tunnel import Tunnel
from fwd.ops import log
from fwd.plane import Plane

Stations = Mapping[int, Station]
"""By family."""


class Forwarding:
    """Forwards from begin() to close()."""

    def __init__(
        self,
        config: RunConfig,
        conf: NetConf,
        run_dir: RunDir,
        *,
        succession: Succession,
        all_or_nothing: bool,
    ) -> None:
        self._config = config
        self._conf = conf
        self._run_dir = run_dir
        self._all_or_nothing = all_or_nothing
        self._of = {
            family: Forwarder(family, succession, direct_routing=conf.backend.direct_routing)
            for family in sorted(conf.networks)
        }
        self._offered: tuple[Lease, ...] = ()
        """The source's last snapshot that was taken, refused leases included: a new book judges it
        anew."""
        self._underlay_troubles: dict[int, str] = {}
        # Set by begin(), before anything else is called.
        self.own: tuple[OwnLease, ...]
        """This node's leases as their source said them, with the MACs that it has here."""
        self.book: LeaseBook

    async def begin(self, own: Iterable[OwnLease], leases: Iterable[Lease]) -> None:
        """From nothing to packets that flow.  Whatever can be refused is, before any change.

        Raises FwdError or OSError, and has closed what it had opened.
        """
        wanted = self._by_family(own)
        stations = {family: await self._find_station(one) for family, one in wanted.items()}
        book = self._new_book(stations)
        leases = tuple(leases)
        book.replace(leases)
        self._offered, self.book = leases, book
        self.own = tuple(_with_mac(one, stations[family]) for family, one in wanted.items())
        with ExitStack() as undo:
            for forwarder in self.forwarders:
                await self._begin(forwarder, stations[forwarder.family])
                undo.callback(forwarder.close)
            undo.pop_all()

    async def _begin(self, forwarder: Forwarder, station: Station) -> None:
        warn_of_public_ip(station, self._config)
        try:
            await forwarder.begin(station, self.book.leases)
        except (FwdError, OSError):
            tell_station("underlay", station)  # which may be the wrong one
            raise

    async def follow_direct(self) -> None:
        """What comes after begin(), once nobody waits for this process any more."""
        await self._each(Forwarder.follow_direct)

    async def take(self, own: Iterable[OwnLease], leases: Iterable[Lease]) -> str | None:
        """Puts these leases into force.  What can be refused comes first, changes after it.

        An own lease that cannot be used leaves the family's last one in force, as none at all does,
        and the peers' go into force all the same, unless all or nothing is wanted; returns what is
        wrong with it.  Raises FwdError or OSError for leases that are refused: the last ones stay.
        What the kernel refuses after that is said here, and tried again by each forwarder.
        """
        before = self._stations
        wanted = self._with_macs(own)
        moved, troubles = await self._find_moved(wanted)
        stations = before | moved
        book = self.book
        if _own_leases(stations) != _own_leases(before):
            book = self._new_book(stations)
        leases = tuple(leases)
        delta = book.replace(leases)
        self._offered, self.book = leases, book
        self.own = tuple(
            _with_mac(wanted[last.family], stations[last.family]) if last.family in moved else last
            for last in self.own
        )
        for family, station in stations.items():
            if station != before[family]:
                tell_station("own-lease-changed", station)
                warn_of_public_ip(station, self._config)
        try:
            await self._each(lambda one: one.take(stations[one.family], book.leases))
        except OSError as error:
            log.warning("failed", error=reason(error))
        if stations == before and delta:
            log.info(
                "leases",
                added=delta.added,
                changed=delta.changed,
                removed=delta.removed,
                leases=len(book),
            )
        return "; ".join(troubles) or None

    async def can_move(self, own: Iterable[OwnLease]) -> bool:
        """Whether take() would put some own lease into force that is another one than now."""
        return bool((await self._find_moved(self._with_macs(own)))[0])

    async def follow_underlay(self) -> None:
        """The underlay's address or MTU may be another one: moves there, once it can be used.

        A new MTU disturbs no packet.  A new address means new sockets; device and leases stay.
        """
        await self._each(self._follow_underlay)

    async def _follow_underlay(self, forwarder: Forwarder) -> None:
        before, family = forwarder.station, forwarder.family
        (own,) = (one for one in self.own if one.family == family)
        try:
            station = await follow_underlay(before, own, self._config, self._conf)
            if station == before:
                self._underlay_troubles.pop(family, None)
                return
            book = self._new_book(self._stations | {family: station})
            book.replace(self._offered)
        except (FwdError, OSError) as error:
            if self._underlay_troubles.get(family) != (text := reason(error)):
                log.warning("underlay-lost", error=text, kept=before.underlay.address)
            self._underlay_troubles[family] = text
            return
        self._underlay_troubles.pop(family, None)
        self.book = book
        tell_station("underlay-changed", station)
        warn_of_public_ip(station, self._config)
        await forwarder.take(station, book.leases)

    async def look_after_links(self) -> None:
        """Links changed: repairs the devices, or makes them anew."""
        await self._each(Forwarder.look_after_links)

    async def look_after_tunnels(self) -> None:
        """Once a second: tries again what failed, and sees to what was doubted."""
        await self._each(Forwarder.look_after_tunnel)

    def close(self) -> None:
        """Stops forwarding; the devices stay."""
        for forwarder in self.forwarders:
            forwarder.close()

    async def _each(self, work: Callable[[Forwarder], Awaitable[None]]) -> None:
        """For every family, also after one has failed; then raises the first OSError."""
        errors = []
        for forwarder in self.forwarders:
            try:
                await work(forwarder)
            except OSError as error:
                errors.append(error)
        if errors:
            raise errors[0]

    def _by_family(self, own: Iterable[OwnLease]) -> dict[int, OwnLease]:
        """This node's leases, if they are of just the families that are on.  Or LeasesError."""
        found = {one.family: one for one in own}
        for one in found.values():
            if one.family not in self._of:
                raise LeasesError(
                    f"node {one.node}: subnet {one.subnet}: IPv{one.family} is not enabled in "
                    "net-conf.json"
                )
        for family in self._of:
            if family not in found:
                node = next(iter(found.values())).node
                raise LeasesError(
                    f"node {node} has no IPv{family} subnet, and net-conf.json enables IPv{family}"
                )
        return {family: found[family] for family in self._of}

    async def _find_station(self, own: OwnLease) -> Station:
        return await find_station(own, self._config, self._conf, self._run_dir)

    async def _find_moved(
        self, wanted: Mapping[int, OwnLease]
    ) -> tuple[dict[int, Station], list[str]]:
        """Stations of the own leases that are others now, and why some cannot be used."""
        moved: dict[int, Station] = {}
        troubles = []
        for own in (wanted[last.family] for last in self.own if last != wanted[last.family]):
            try:
                station = await self._find_station(own)
                self._new_book({own.family: station}).replace(())  # is it at fault itself?
                moved[own.family] = station
            except (FwdError, OSError) as error:
                if self._all_or_nothing:
                    raise
                troubles.append(reason(error))
        return moved, troubles

    def _with_macs(self, own: Iterable[OwnLease]) -> dict[int, OwnLease]:
        now, wanted = self._stations, self._by_family(tuple(own) or self.own)
        return {family: _with_mac(one, now[family]) for family, one in wanted.items()}

    def _new_book(self, stations: Stations) -> LeaseBook:
        return LeaseBook(
            _own_leases(stations),
            networks=self._conf.networks,
            vni=self._conf.backend.vni,
            all_or_nothing=self._all_or_nothing,
        )

    @property
    def forwarders(self) -> tuple[Forwarder, ...]:
        """One a family."""
        return tuple(self._of.values())

    @property
    def _stations(self) -> dict[int, Station]:
        return {family: forwarder.station for family, forwarder in self._of.items()}

    @property
    def stations(self) -> tuple[Station, ...]:
        """Where this node stands, by family."""
        return tuple(self._stations.values())

    @property
    def addresses(self) -> tuple[Address, ...]:
        """This node's in the underlay."""
        return tuple(station.underlay.address for station in self.stations)

    @property
    def own_leases(self) -> tuple[Lease, ...]:
        """This node's, for others to know."""
        return _own_leases(self._stations)

    @property
    def tunnels(self) -> tuple[Tunnel, ...]:
        """One a family."""
        return tuple(forwarder.tunnel for forwarder in self.forwarders)

    @property
    def running(self) -> tuple[Plane, ...]:
        """The planes whose workers are at work."""
        found = (one.plane for one in self.tunnels if not one.is_paused)
        return tuple(plane for plane in found if plane is not None)

    @property
    def underlay_trouble(self) -> str | None:
        """Why the underlay cannot be followed now, if it cannot."""
        return "; ".join(self._underlay_troubles.values()) or None

    @property
    def subnet_env(self) -> SubnetEnv:
        """What Pods and their plugins have to know of the stations."""
        return SubnetEnv(
            networks=self._conf.networks,
            subnets={lease.family: lease.subnet for lease in self.own_leases},
            mtu=min(self._conf.backend.pod_mtu(one.underlay.mtu) for one in self.stations),
            ip_masq=self._config.ip_masq,
        )


def _own_leases(stations: Stations) -> tuple[Lease, ...]:
    return tuple(station.lease for station in stations.values())


def _with_mac(own: OwnLease, station: Station) -> OwnLease:
    """A source that knows of no MAC means the one that we have, once we have one."""
    return own if own.vtep_mac else replace(own, vtep_mac=station.lease.vtep_mac)
