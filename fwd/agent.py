# SPDX-License-Identifier: Apache-2.0
"""`fwd run`: the only module that knows all the others.

Theory of operation.  Everything that can make the agent act is an event in one queue: a source's
snapshot or trouble, a hint that links changed, a tick a second.  One loop takes them out, one at a
time, so that no two of them ever change the tunnel together.  A snapshot becomes leases in force
(`core.leases`), then a plan, then one commit; the plane swaps whole tables, so a peer is in the
table before its route, and a route is gone before its peer, without any order of ours.  The one
route in the kernel covers the whole network; routes to single peers, should there be any, belong
after the commit that adds their peer and before the one that removes it.

Before the first packet flows, any error ends the program with one line.  Afterwards none does: the
agent says what is wrong once, keeps the last good table and goes on.
"""

import asyncio
import time
from contextlib import AsyncExitStack, closing
from enum import Enum, auto
from typing import NoReturn

import uvloop

from fwd.config import RunConfig, load_netconf
from fwd.core.backoff import Backoff
from fwd.core.leases import LeaseBook
from fwd.core.netconf import NetConf
from fwd.core.plan import make_plan
from fwd.model import IPV6, ConfigError, FwdError, OwnLease, Plan, Snapshot, Trouble
from fwd.node.linkwatch import LinkWatch
from fwd.node.rundir import RunDir
from fwd.node.station import Station, find_station, remember
from fwd.node.tunnel import Health, Tunnel
from fwd.ops import log
from fwd.ops.gather import gather
from fwd.ops.report import Reporter
from fwd.ops.signals import until_signal
from fwd.ops.status import Status, StatusServer
from fwd.sources.base import LeaseSource
from fwd.sources.static import StaticSource

TICK_SECONDS = 1.0


class Hint(Enum):
    """A reason to look at something again."""

    LINKS = auto()
    TICK = auto()


class Agent:
    """A node that forwards, from its first snapshot to its end."""

    def __init__(
        self, config: RunConfig, conf: NetConf, *, source: LeaseSource, run_dir: RunDir
    ) -> None:
        self._config = config
        self._conf = conf
        self._source = source
        self._run_dir = run_dir
        self._events: asyncio.Queue[Snapshot | Trouble | Hint] = asyncio.Queue(maxsize=16)
        self._backoff = Backoff()
        self._reporter = Reporter()
        self._trouble: str | None = None
        # Set by _begin, before anything else runs.
        self._said: OwnLease
        self._station: Station
        self._book: LeaseBook
        self._tunnel: Tunnel

    async def run(self) -> NoReturn:
        """Sets the node up and forwards until it is cancelled.

        Raises FwdError or OSError if it cannot begin; later it does not give up.
        """
        async with AsyncExitStack() as stack:
            await self._begin(await self._source.first())
            stack.callback(self._tunnel.close)
            links = stack.enter_context(closing(LinkWatch()))
            stack.enter_context(closing(await StatusServer.open(self._run_dir.path, self._gather)))
            lease, layout = self._station.lease, self._station.layout
            log.info(
                "forwarding",
                node=lease.node,
                subnet=lease.subnet,
                device=layout.device,
                mtu=layout.mtu,
                leases=len(self._book),
            )
            tasks = await stack.enter_async_context(asyncio.TaskGroup())
            tasks.create_task(self._feed_source())
            tasks.create_task(self._feed_links(links))
            tasks.create_task(self._feed_ticks())
            while True:
                await self._handle(await self._events.get())

    async def _begin(self, first: Snapshot) -> None:
        """From nothing to packets that flow.  Whatever can be refused is, before any change."""
        self._said = first.own
        self._station = await self._find_station(first.own)
        self._book = self._new_book(self._station)
        try:
            self._book.replace(first.leases)
        except ConfigError as error:
            raise ConfigError(f"{self._config.static_leases}: {error}") from error
        self._tell_station("underlay")
        self._tunnel = Tunnel(self._station.layout, self._station.settings)
        self._tunnel.commit(self._plan())
        await self._tunnel.open()
        self._remember()
        self._report()

    async def _feed_source(self) -> NoReturn:
        async for said in self._source.changes():
            await self._events.put(said)
        raise RuntimeError("the source of leases ended, which none may")

    async def _feed_links(self, links: LinkWatch) -> NoReturn:
        while True:
            await links.changed()
            await self._events.put(Hint.LINKS)

    async def _feed_ticks(self) -> NoReturn:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            await self._events.put(Hint.TICK)

    async def _handle(self, event: Snapshot | Trouble | Hint) -> None:
        """One iteration."""
        try:
            match event:
                case Snapshot():
                    await self._on_snapshot(event)
                case Trouble():
                    self._keep(event.text)
                case Hint.LINKS:
                    await self._on_links()
                case Hint.TICK:
                    await self._on_tick()
        except OSError as error:
            log.warning("failed", error=error.strerror or error)

    async def _on_snapshot(self, snapshot: Snapshot) -> None:
        """Everything that can be refused comes first, everything that is changed after it."""
        station, book = self._station, self._book
        try:
            if snapshot.own != self._said:
                station = await self._find_station(snapshot.own)
                if station != self._station:
                    book = self._new_book(station)
            delta = book.replace(snapshot.leases)
        except (FwdError, OSError) as error:
            self._keep(f"{self._config.static_leases}: {reason(error)}")
            return
        if self._trouble is not None:
            log.info("leases-good-again", leases=len(book))
        self._said, self._trouble = snapshot.own, None
        if station != self._station:
            self._station, self._book = station, book
            self._tunnel.reshape(station.layout, station.settings, self._plan())
            self._tell_station("own-lease-changed")
            await self._reopen()
            self._remember()
        elif delta:
            self._tunnel.commit(self._plan())
            log.info(
                "leases",
                added=delta.added,
                changed=delta.changed,
                removed=delta.removed,
                leases=len(book),
            )

    def _keep(self, text: str) -> None:
        """The source's last word cannot be in force."""
        self._trouble = text
        log.warning("leases-refused", error=text, kept=len(self._book))

    async def _on_links(self) -> None:
        if self._tunnel.plane is None:
            return
        health = await self._tunnel.check()
        if health is Health.LOST:
            log.warning("device-lost", device=self._station.layout.device)
            await self._reopen()

    async def _on_tick(self) -> None:
        if self._tunnel.plane is None:
            await self._reopen()
        elif self._tunnel.behind:
            self._tunnel.recommit()
        self._report()

    def _report(self) -> None:
        if self._tunnel.plane is not None:
            self._reporter.offloads(self._tunnel.plane.wanted, self._tunnel.plane.offloads)
        self._reporter.drops(self._tunnel.counters(), now=time.monotonic())

    async def _reopen(self) -> None:
        """Makes a closed tunnel anew, with all its leases, or says when it will be tried again."""
        now = time.monotonic()
        if not self._backoff.due(now):
            return
        try:
            await self._tunnel.open()
        except (FwdError, OSError) as error:
            again = self._backoff.failed(now)
            log.warning("tunnel-down", error=reason(error), again_in_seconds=again)
            return
        self._backoff.succeeded()
        log.info("tunnel-restored", device=self._station.layout.device, leases=len(self._book))

    async def _find_station(self, own: OwnLease) -> Station:
        return await find_station(own, self._config, self._conf, self._run_dir)

    def _new_book(self, station: Station) -> LeaseBook:
        return LeaseBook([station.lease], networks=self._conf.networks, vni=station.lease.vni)

    def _plan(self) -> Plan:
        return make_plan(self._book.leases, family=self._station.lease.family)

    def _remember(self) -> None:
        remember(
            self._station,
            pod_mtu=self._conf.backend.pod_mtu(self._station.underlay.mtu),
            subnet_file=self._config.subnet_file,
        )

    def _tell_station(self, event: str) -> None:
        lease, underlay = self._station.lease, self._station.underlay
        log.info(
            event,
            node=lease.node,
            subnet=lease.subnet,
            public_ip=lease.public_ip,
            interface=underlay.name,
            address=underlay.address,
        )
        if self._config.public_ip not in (None, lease.public_ip):
            log.warning(
                "public-ip-differs",
                text=f"--public-ip is {self._config.public_ip}, but peers send to "
                f"{lease.public_ip}, as the own lease says",
            )

    def _gather(self) -> Status:
        return gather(
            self._station,
            self._tunnel,
            self._book,
            source_check=self._config.source_check,
            trouble=self._trouble,
        )


async def run(config: RunConfig) -> NoReturn:
    """`fwd run`.  Ends only by an error or by being cancelled."""
    conf = load_netconf(config.net_config_path)
    if IPV6 in conf.networks:
        raise ConfigError(
            f"{config.net_config_path}: EnableIPv6: this version carries IPv4 only, set it to false"
        )
    for note in config.notes:
        log.warning("environment-ignored", error=note)
    for key in conf.backend.ignored():
        log.warning("net-conf-key-ignored", key=key, text="it has no effect in userspace")
    run_dir = RunDir.open(config.run_dir)
    try:
        source = StaticSource(config.static_leases, node=config.node_name, vni=conf.backend.vni)
        await Agent(config, conf, source=source, run_dir=run_dir).run()
    finally:
        run_dir.close()


def main(config: RunConfig) -> int:
    """Runs until SIGTERM or SIGINT, then returns 0.  Device and route stay (flannel spec 10.3)."""
    log.set_up()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(until_signal(run(config)))
    return 0


def reason(error: FwdError | OSError) -> str:
    """An error as one line for a person."""
    return (isinstance(error, OSError) and error.strerror) or str(error)
