# SPDX-License-Identifier: Apache-2.0
"""Threads for the loops of C that end when they are told to, whatever has happened meanwhile."""

import contextlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from threading import Thread
from typing import Any, Final, TypeVar

T = TypeVar("T")


class Loops:
    """Loops that run, and the descriptor that ends them.

    A signal's exception may come out of ``Thread.start``, whose thread runs nevertheless: then an
    executor does not know of it.  So each call is written down before, and says itself whether it
    has begun.  The threads are daemons: one that nobody waits for keeps no process from its end.
    """

    def __init__(self) -> None:
        self.stop: Final = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._known: list[Future[Any]] = []

    def begin(self, loop: Callable[[], T]) -> Future[T]:
        """Run it in a thread of its own."""
        call: Future[T] = Future()
        self._known.append(call)
        Thread(target=_run, args=(call, loop), daemon=True).start()
        return call

    def end(self) -> None:
        """Tell all loops, and wait until they have ended."""
        os.eventfd_write(self.stop, 1)
        wait([call for call in self._known if not call.cancel()])
        # Not before: epoll forgets a closed descriptor, whatever was written to it.
        os.close(self.stop)


def _run(call: Future[T], loop: Callable[[], T]) -> None:
    if not call.set_running_or_notify_cancel():
        return
    try:
        call.set_result(loop())
    except BaseException as error:  # noqa: BLE001 - who asks for the result gets it
        call.set_exception(error)


@contextlib.contextmanager
def loops() -> Iterator[Loops]:
    """Loops that have ended when this does."""
    made = Loops()
    try:
        yield made
    finally:
        made.end()
