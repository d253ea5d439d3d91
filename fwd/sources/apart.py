# SPDX-License-Identifier: Apache-2.0
"""Work in a task of its own, for libraries that cancel whoever waits for them.

When a connection breaks, grpclib does that.  Were it the caller's task, its own end could be
mistaken for such a break, and the other way round.
"""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


def apart(work: Awaitable[T]) -> "asyncio.Future[T]":
    """Begins it.  Whoever gives up waiting cancels it, and need not look what became of it."""
    task = asyncio.ensure_future(work)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    return task


def outcome(task: "asyncio.Future[T]") -> T:
    """Of one that is done.  Cancelled by the library is ConnectionResetError here."""
    if task.cancelled():
        raise ConnectionResetError("the connection broke off")
    return task.result()
