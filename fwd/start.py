# SPDX-License-Identifier: Apache-2.0
"""`fwd run`, from its settings to its end: what is to be settled before there is an agent."""

import asyncio
import time
from collections.abc import Coroutine
from contextlib import AsyncExitStack, suppress
from typing import NoReturn

import uvloop

from fwd.agent import Agent, GivenAwayError
from fwd.begin import Begun
from fwd.config import RunConfig, shown
from fwd.model import ConfigError
from fwd.node.handover.finding import find_legacy
from fwd.node.handover.legacy import Legacy, Succession
from fwd.node.handover.taker import Taker
from fwd.node.watchdog import watch
from fwd.ops import log
from fwd.ops.health import Health
from fwd.ops.metrics import Metrics
from fwd.ops.signals import until_signal
from fwd.sources.choice import file_netconf, make_source
from fwd.supervisor.words import EXIT_GIVEN

PORT_SECONDS = 5.0
"""For the agent before us to let go of the health port."""
_AGAIN_SECONDS = 0.1


async def run(config: RunConfig, begun: Begun) -> NoReturn:
    """Ends only by an error, by being cancelled, or when another agent has taken over."""
    in_file = file_netconf(config)
    log.info("settings", **shown(config))
    for note in config.notes:
        log.warning("environment-ignored", error=note)
    run_dir = begun.run_dir
    try:
        legacy: Legacy = begun.revived
        if not begun.revived.devices:
            legacy = await find_legacy(run_dir, node=config.node_name)
        health = Health(Metrics(per_peer=config.metrics_per_peer))
        async with AsyncExitStack() as stack:
            if begun.revived.devices:  # the agent looks after those that it has
                _beside(stack, watch(lambda: begun.revived.planes))
            if isinstance(legacy, Taker) or begun.revived.devices:
                _beside(stack, _serve_when_free(config, health, stack))
            else:
                serving = health.served(config.healthz_ip, config.healthz_port)
                await stack.enter_async_context(serving)
            source, conf = await make_source(config, in_file, run_dir)
            for key in conf.backend.ignored():
                log.warning("net-conf-key-ignored", key=key, text="it has no effect in userspace")
            agent = Agent(
                config,
                conf,
                source=source,
                run_dir=run_dir,
                succession=Succession(legacy=legacy, keeping=begun.keeping),
                health=health,
            )
            await agent.run()
    finally:
        run_dir.close()


def _beside(stack: AsyncExitStack, what: Coroutine[None, None, None]) -> None:
    """Runs it until the stack is left."""
    stack.callback(asyncio.create_task(what).cancel)


async def _serve_when_free(config: RunConfig, health: Health, stack: AsyncExitStack) -> None:
    """The agent before us answers on that port as long as it forwards; so nobody misses us.

    If the port stays another's it is said once, for it is not worth the packets that flow, and
    tried on: a liveness probe that nobody answers would end who forwards.
    """
    # Until this one forwards, seldom: an agent that crashes is to have its port back.
    while (fault := await _serve(config, health, stack)) and not health.forwarding.is_set():
        with suppress(TimeoutError):
            async with asyncio.timeout(PORT_SECONDS):
                await health.forwarding.wait()
    # Then often: the agent before us is about to let go.
    end = time.monotonic() + PORT_SECONDS
    while fault and time.monotonic() <= end:
        await asyncio.sleep(_AGAIN_SECONDS)
        fault = await _serve(config, health, stack)
    # It does not, or somebody else has the port.
    if fault:
        log.warning("health", error=fault)
    while fault:
        await asyncio.sleep(PORT_SECONDS)
        fault = await _serve(config, health, stack)


async def _serve(config: RunConfig, health: Health, stack: AsyncExitStack) -> str:
    """Until the stack is left; or why it cannot now."""
    try:
        await stack.enter_async_context(health.served(config.healthz_ip, config.healthz_port))
    except ConfigError as error:
        return str(error)
    return ""


def main(config: RunConfig, begun: Begun) -> int:
    """Runs until SIGTERM or SIGINT, or until another agent has taken over; the exit code."""
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(until_signal(run(config, begun), supervised=begun.store.was_there))
    except Exception as error:
        if not begun.run_dir.is_given:
            raise
        if others := _others(error):  # whatever its end brought, this agent is not to come again
            log.warning("failed", error=others, text="after another agent has taken over")
    return EXIT_GIVEN if begun.run_dir.is_given and begun.store.was_there else 0


def _others(error: Exception) -> str:
    """What is not the word that all has been given away."""
    if isinstance(error, ExceptionGroup):
        _, rest = error.split(GivenAwayError)
        return "" if rest is None else "; ".join(map(repr, rest.exceptions))
    return repr(error)
