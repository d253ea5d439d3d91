# SPDX-License-Identifier: Apache-2.0
"""A connection to a server by its name, which the event loop must not look up: `sources.names`."""

import asyncio
import ssl
from collections.abc import Callable
from typing import TypeVar

from fwd.sources.names import NAMES

P = TypeVar("P", bound=asyncio.Protocol)


async def connect(
    made: Callable[[], P], to: tuple[str, int], *, tls: ssl.SSLContext | None, seconds: float
) -> P:
    """Tries the addresses of a host in turn, all within that time.

    Raises OSError: Unresolved, TimeoutError, or what became of the best address.
    """
    loop, (host, port), failures = asyncio.get_running_loop(), to, list[OSError]()
    end = loop.time() + seconds
    name = host if tls else None
    found = await NAMES.look_up(host, seconds=seconds)
    async with asyncio.timeout_at(end):
        for one in found:
            try:
                return (
                    await loop.create_connection(
                        made, one.host, port, ssl=tls, server_hostname=name
                    )
                )[1]
            except (ssl.SSLError, ConnectionResetError):
                raise  # of somebody who is there
            except OSError as error:
                failures.append(error)
    raise failures[0]
