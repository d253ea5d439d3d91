# SPDX-License-Identifier: Apache-2.0
"""Signals, so that what was begun is taken down: asked to end, a command still cleans up."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Final

from fwd.lab.errors import Interrupted

_ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def as_exceptions() -> Iterator[None]:
    """Let SIGINT, SIGTERM and SIGHUP raise ``Interrupted`` in the main thread.

    But not one that is ignored already: nohup, or a shell's ``&``, wants it so.
    """

    def interrupt(signum: int, _: FrameType | None) -> None:
        raise Interrupted(signum)

    with _handled(interrupt):
        yield


@contextlib.contextmanager
def shielded() -> Iterator[None]:
    """Hold these signals off: what runs inside is short, bounded and must not be left half done.

    The programs started inside ignore them too, as an ignored signal stays ignored across exec: a
    second Ctrl-C goes to the whole foreground group and must not end `ip` in the middle.
    """
    with _handled(signal.SIG_IGN):
        yield


@contextlib.contextmanager
def _handled(handler: "signal.Handlers | signal._HANDLER") -> Iterator[None]:
    heeded = [number for number in _ENDING if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, handler) for number in heeded}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
