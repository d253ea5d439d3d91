# SPDX-License-Identifier: Apache-2.0
"""The body of an answer, as it comes: no wait for the next bytes is without an end.

aiohttp has such a limit, and drops it together with the connection when something else comes where
a chunk should begin, such as a proxy's own answer: its parser in C then gives the reader nothing
any more, neither bytes nor an end nor an error.
"""

import asyncio
from collections.abc import AsyncGenerator
from typing import Protocol


class Content(Protocol):
    """aiohttp's StreamReader, as far as it is of use here."""

    async def readany(self) -> bytes:
        """What is there, at least a byte; nothing at the end."""


class StalledError(TimeoutError):
    """Nothing came for too long."""


async def steps(content: Content, *, seconds: float) -> AsyncGenerator[bytes, None]:
    """All of it, cut anywhere.  Raises StalledError, OSError, and what aiohttp raises."""
    while True:
        try:
            async with asyncio.timeout(seconds):
                step = await content.readany()
        except TimeoutError as error:  # aiohttp's own, too
            raise StalledError from error
        except RuntimeError as error:  # of who begins to wait when the connection is gone already
            raise ConnectionResetError("the connection was closed") from error
        if not step:
            return
        yield step
