# SPDX-License-Identifier: Apache-2.0
"""A running node, from its first leases to its end; `begin` and `start` made what it is given.

Theory of operation.  Everything that can change what is forwarded is an event in one queue: a
source's snapshot or trouble, a hint that links changed, a tick a second.  One loop takes them out,
one at a time, so that no two of them ever change it together.

The hand-over to another agent goes on beside the queue: while it gives the tunnels away it holds
`Giver.still`, and the loop handles no event.

Before the first packet flows, any error ends the program with one line.  Afterwards none does: the
agent says what is wrong once, keeps the last good table and goes on.  What was in force is saved,
so that the next start forwards before it has talked to anyone; the source then corrects it.
"""

import asyncio
import gc
import time
from contextlib import AsyncExitStack, closing
from enum import Enum, auto
from typing import NoReturn

from fwd.config import RunConfig
from fwd.core.backoff import Backoff
from fwd.core.leases import LeasesError
from fwd.core.netconf import NetConf
from fwd.model import ConfigError, FwdError, Snapshot, Trouble
from fwd.node.forwarder import reason
from fwd.node.forwarding import Forwarding
from fwd.node.handover.giver import Giver
from fwd.node.handover.legacy import Succession
from fwd.node.hostsetup import HostSetup
from fwd.node.linkwatch import LinkWatch
from fwd.node.rundir import RunDir
from fwd.node.savedstate import SavedState
from fwd.node.saver import Saver
from fwd.node.watchdog import watch
from fwd.ops import log
from fwd.ops.control import ControlServer
from fwd.ops.health import Health
from fwd.ops.observer import Observer
from fwd.ops.systemd import notify_ready
from fwd.sources.base import LeaseSource

TICK_SECONDS = 1.0
OWN_SECONDS = 10.0
"""Between two looks, at most, at an own lease that cannot be used."""


class Hint(Enum):
    """A reason to look at something again."""

    LINKS = auto()
    TICK = auto()


class GivenAwayError(Exception):
    """Another agent has taken over."""


class Agent:
    """A node that forwards, from its first leases to its end."""

    def __init__(
        self,
        config: RunConfig,
        conf: NetConf,
        *,
        source: LeaseSource,
        run_dir: RunDir,
        succession: Succession,
        health: Health,
    ) -> None:
        self._config = config
        self._source = source
        self._run_dir = run_dir
        self._succession = succession
        self._health = health
        self._events: asyncio.Queue[Snapshot | Trouble | Hint] = asyncio.Queue(maxsize=16)
        self._forwarding = Forwarding(
            config, conf, run_dir, succession=succession, all_or_nothing=source.all_or_nothing
        )
        self._host = HostSetup(config, conf, run_dir)
        self._saver = Saver(
            _saved_state(config, conf, run_dir),
            look=lambda: (self._forwarding.own, self._forwarding.book.leases),
        )
        self._observer = Observer(
            self._forwarding, source=source, host=self._host, saver=self._saver
        )
        health.why_not_ready = self._observer.why_not_ready
        self._unusable: Snapshot | None = None
        """The last one, if the own lease in it cannot be used."""
        self._again = Backoff(first=TICK_SECONDS, longest=OWN_SECONDS)

    async def run(self) -> NoReturn:
        """Sets the node up and forwards until it is cancelled.

        Raises FwdError or OSError if it cannot begin; later it does not give up.
        """
        async with AsyncExitStack() as stack:  # at the end it runs backwards
            from_saved = await self._begin(stack)
            links = stack.enter_context(closing(LinkWatch()))
            giver = stack.enter_context(closing(self._open_giver()))
            server = await ControlServer.open(self._run_dir.path, self._observer.serve)
            stack.enter_context(closing(server))
            # What can fail has not: the agent before goes now.
            self._succession.legacy.done()
            self._succession.keeping.begun()
            # At the end it runs ahead of all that closes: a crash from here on leaves the tunnels.
            stack.push(self._leave_to_next)
            self._health.forwarding.set()
            giver.take_name()
            server.take_name()
            await self._forwarding.follow_direct()
            self._health.metrics.look = self._observer.seen
            self._observer.forwarding(leases_of="saved state" if from_saved else "source")
            self._source.announce(self._forwarding.own_leases)
            self._observer.tick()
            self._host.want(self._forwarding.subnet_env)
            await self._go_on(links, giver, server)

    async def _begin(self, stack: AsyncExitStack) -> bool:
        """From nothing to packets that flow, the way back on the stack; whether by saved leases."""
        stack.callback(self._succession.legacy.abort)
        if self._succession.legacy.has_ended:
            stack.push(self._leave_to_next)  # a crash leaves what was revived: ahead of abort()
        from_saved = await self._begin_from_saved()
        await stack.enter_async_context(self._source)
        if not from_saved:
            await self._begin_from_source()
        stack.callback(self._forwarding.close)
        if self._succession.legacy.has_ended:
            stack.push(self._leave_to_next)  # and what was taken of it: ahead of close()
        return from_saved

    async def _go_on(self, links: LinkWatch, giver: Giver, server: ControlServer) -> NoReturn:
        """Takes events from the queue, and runs beside it all that puts them there or acts."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._give_away(giver, server))
            tasks.create_task(watch(lambda: self._forwarding.running))
            tasks.create_task(self._host.keep())
            tasks.create_task(self._tell_ready())
            tasks.create_task(self._feed_source())
            tasks.create_task(self._feed_links(links))
            tasks.create_task(self._feed_ticks())
            tasks.create_task(self._saver.keep())
            _settle_memory()
            while True:
                event = await self._events.get()
                async with giver.still:
                    await self._handle(event)

    def _leave_to_next(self, _type: object, error: BaseException | None, _trace: object) -> None:
        """After a crash what is closed now stays with the supervisor; an orderly end drops it."""
        if isinstance(error, Exception) and not self._run_dir.is_given:
            self._succession.keeping.hold()

    def _open_giver(self) -> Giver:
        return Giver.open(
            self._run_dir,
            node=self._forwarding.own[0].node,
            tunnels=lambda: self._forwarding.tunnels,
            save=self._saver.save_now,
        )

    async def _give_away(self, giver: Giver, server: ControlServer) -> NoReturn:
        """Ends this agent once another one forwards."""
        await giver.serve()
        self._run_dir.is_given = True
        self._saver.give_up()
        giver.leave_name()
        server.leave_name()
        raise GivenAwayError

    async def _begin_from_saved(self) -> bool:
        """Forwards by the saved leases, if there are any that can be used."""
        saved = self._saver.load()
        if saved is None:
            return False
        try:
            await self._forwarding.begin(saved.own, saved.leases)
        except FwdError as error:
            if not self._succession.legacy.has_ended:
                self._succession.legacy.abort()
            log.warning("saved-state-unused", error=str(error))
            return False
        self._observer.leases_in_force()
        return True

    async def _begin_from_source(self) -> None:
        first = await self._source.first()
        try:
            await self._forwarding.begin(first.own, first.leases)
        except LeasesError as error:
            raise ConfigError(self._about(error)) from error
        self._in_force(first)

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

    async def _tell_ready(self) -> None:
        """Only now may Pods come: packets flow, and all that the host needs is there."""
        await self._host.ready.wait()
        self._source.ready()
        self._health.set_ready()
        notify_ready()

    async def _handle(self, event: Snapshot | Trouble | Hint) -> None:
        """One iteration."""
        try:
            match event:
                case Snapshot():
                    await self._on_snapshot(event)
                case Trouble():
                    self._observer.leases_kept(event.text)
                case Hint.LINKS:
                    await self._follow_underlay()
                    await self._forwarding.look_after_links()
                case Hint.TICK:
                    if self._forwarding.underlay_trouble is not None:
                        await self._follow_underlay()
                    await self._forwarding.look_after_tunnels()
                    await self._retry_own()
                    self._observer.tick()
        except OSError as error:
            log.warning("failed", error=error.strerror or error)
        self._host.want(self._forwarding.subnet_env)

    async def _follow_underlay(self) -> None:
        """Peers learn at once where this node is now."""
        leases, addresses = self._forwarding.own_leases, self._forwarding.addresses
        try:
            await self._forwarding.follow_underlay()
        finally:
            if self._forwarding.addresses != addresses:
                self._source.reconnect()
            if self._forwarding.own_leases != leases:
                self._source.announce(self._forwarding.own_leases)

    async def _on_snapshot(self, snapshot: Snapshot) -> None:
        before, self._unusable = self._forwarding.own_leases, None
        try:
            trouble = await self._forwarding.take(snapshot.own, snapshot.leases)
        except (FwdError, OSError) as error:
            self._observer.leases_kept(self._about(error))
            return
        self._in_force(snapshot, own_trouble=trouble)
        if self._forwarding.own_leases != before:
            self._source.announce(self._forwarding.own_leases)

    async def _retry_own(self) -> None:
        """What was wrong with the own lease may be over: an address that was to come is there."""
        snapshot, now = self._unusable, time.monotonic()
        if snapshot is None or not self._again.due(now):
            return
        if await self._forwarding.can_move(snapshot.own):
            await self._on_snapshot(snapshot)
        else:
            self._again.failed(now)

    def _in_force(self, snapshot: Snapshot, *, own_trouble: str | None = None) -> None:
        self._observer.leases_in_force(snapshot.refused, own_trouble=own_trouble)
        self._saver.changed()
        self._again.succeeded()
        if own_trouble is not None:
            self._unusable = snapshot
            self._again.failed(time.monotonic())

    def _about(self, error: FwdError | OSError) -> str:
        """In one line; a file of leases is named with what is wrong in it."""
        where, text = self._config.static_leases, reason(error)
        return f"{where}: {text}" if where and isinstance(error, LeasesError) else text


def _saved_state(config: RunConfig, conf: NetConf, run_dir: RunDir) -> SavedState | None:
    """A file of leases is as near as its copy would be, so only others' are saved."""
    if config.static_leases is not None:
        return None
    return SavedState(
        run_dir.path, node=config.node_name, networks=conf.networks, vni=conf.backend.vni
    )


def _settle_memory() -> None:
    """What start made stays: the collector need not walk through it again and again."""
    gc.collect()
    gc.freeze()
