# SPDX-License-Identifier: Apache-2.0
"""SIGTERM and SIGINT end the agent in an orderly way."""

import asyncio
import signal
from collections.abc import Coroutine

from fwd.ops import log

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


async def until_signal(
    work: Coroutine[object, object, object], *, supervised: bool = False
) -> None:
    """Awaits work; the first signal cancels it and is no error.

    A second one kills, as with flannel; not if `supervised`: systemd tells both processes, and the
    supervisor tells us again.  That one kills who does not end.
    """
    loop = asyncio.get_running_loop()
    task = loop.create_task(work)
    caught: list[signal.Signals] = []

    def stop(number: signal.Signals) -> None:
        caught.append(number)
        if not supervised:
            for one in _STOP_SIGNALS:
                loop.remove_signal_handler(one)
        if len(caught) == 1:  # a second cancel() would end the end
            task.cancel()

    for one in _STOP_SIGNALS:
        loop.add_signal_handler(one, stop, one)
    try:
        await task
    except asyncio.CancelledError:
        if not caught:
            raise
        log.info("stopped", signal=caught[0].name, text="Exiting cleanly...")
    finally:
        if supervised and caught:  # it may come after the loop's end, too
            for one in _STOP_SIGNALS:
                loop.remove_signal_handler(one)
                signal.signal(one, signal.SIG_IGN)
