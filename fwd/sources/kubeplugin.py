# SPDX-License-Identifier: Apache-2.0
"""The end of a kubeconfig's plugin, a program that is asked for credentials and does not answer."""

import asyncio
import os
import signal
import traceback
from asyncio.subprocess import Process
from contextlib import suppress
from pathlib import Path
from typing import Any

_KILL_SECONDS = 1.0
"""For a plugin that is killed to be gone; one that the kernel holds is left to itself."""


async def end_plugin(cancelled: asyncio.CancelledError) -> None:
    """Kills the plugin that the client was waiting for, with all that it has started.

    The client has it in a local variable only, and does not kill it; but the traceback leads to
    that.  Where it does not, in another version, the plugin lives on.
    """
    for frame, _ in traceback.walk_tb(cancelled.__traceback__):
        for value in tuple(frame.f_locals.values()):
            if isinstance(value, Process) and value.returncode is None:
                await _end(value)


async def _end(process: Any) -> None:  # noqa: ANN401 - a Process; its transport is not typed
    for pid in _with_descendants(process.pid):
        with suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    process._transport.close()  # noqa: SLF001 - its pipes: somebody else may hold the other ends
    with suppress(TimeoutError):
        async with asyncio.timeout(_KILL_SECONDS):
            await process.wait()


def _with_descendants(pid: int) -> list[int]:
    """It is in our own process group, so that cannot be killed.  A shell's child would live on."""
    found = [pid]
    for parent in found:  # which grows
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            with suppress(OSError):  # it has ended meanwhile
                found += map(int, children.read_text().split())
    return found
