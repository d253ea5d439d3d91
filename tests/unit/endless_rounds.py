# SPDX-License-Identifier: Apache-2.0
"""A source whose rounds a test makes by itself, or not at all."""

import asyncio
from typing import NoReturn

from fwd.sources.watched import WatchedSource


async def end_rounds(source: WatchedSource) -> None:
    """Ends both.  As none may end, another one without work stands in for them."""
    running, source._running = source._running, [asyncio.create_task(_nothing())]
    for task in running:
        task.cancel()
    await asyncio.wait(running)


async def _nothing() -> NoReturn:
    while True:
        await asyncio.Event().wait()
