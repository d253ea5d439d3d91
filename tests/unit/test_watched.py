# SPDX-License-Identifier: Apache-2.0
"""What becomes of a source's rounds when one crashes, or meets what no waiting cures."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import NoReturn

import pytest

from fwd.model import ConfigError, Snapshot
from fwd.sources.contact import Contact
from fwd.sources.watched import WatchedSource


class Source(WatchedSource):
    """It publishes until it is told to crash."""

    def __init__(self) -> None:
        super().__init__(Contact("etcd", server=lambda: "http://a:1"))
        self.crash = asyncio.Event()
        self.in_force = False
        self.closed = False

    async def _follow(self) -> NoReturn:
        await asyncio.Event().wait()
        raise AssertionError

    async def _publish(self) -> NoReturn:
        await self.crash.wait()
        raise KeyError("planted")

    async def _close(self) -> None:
        self.closed = True

    def _snapshot(self) -> Snapshot | None:
        return None

    def _is_in_force(self) -> bool:
        return self.in_force


@pytest.fixture
async def source() -> AsyncIterator[Source]:
    made = Source()
    async with made:
        yield made
    assert made.closed


async def follow(source: Source) -> None:
    async for _ in source.changes():
        pass


@pytest.mark.parametrize("ask", [Source.first, follow])
async def test_a_round_that_crashes_is_an_error_and_no_cancellation(
    source: Source, ask: Callable[[Source], Awaitable[object]]
) -> None:
    """To an agent that is the end of a program that is to be started again."""
    asking = asyncio.ensure_future(ask(source))
    await asyncio.sleep(0)
    source.crash.set()
    with pytest.raises(RuntimeError) as caught:
        await asyncio.wait_for(asking, 5)
    assert isinstance(caught.value.__cause__, KeyError)


async def test_a_round_that_somebody_cancels_is_an_error_too(source: Source) -> None:
    source._running[0].cancel()
    with pytest.raises(RuntimeError) as caught:
        await asyncio.wait_for(follow(source), 5)
    assert caught.value.__cause__ is None


async def test_a_round_that_crashed_before_anybody_asked_is_told_then(source: Source) -> None:
    source.crash.set()
    await asyncio.sleep(0.01)
    with pytest.raises(RuntimeError):
        await asyncio.wait_for(follow(source), 5)


@pytest.mark.parametrize("in_force", [False, True])
async def test_what_is_said_to_be_survived_is(source: Source, *, in_force: bool) -> None:
    source.in_force = in_force
    first = asyncio.create_task(source.first())
    fault = ConfigError("the kubeconfig is no YAML")
    assert source._contact.on_fault(fault) is not in_force
    await asyncio.wait({first}, timeout=0.05)
    assert first.done() is not in_force
    if in_force:
        first.cancel()
    else:
        assert first.exception() is fault
