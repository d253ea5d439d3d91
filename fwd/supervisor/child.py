# SPDX-License-Identifier: Apache-2.0
"""A process that is an agent, or would be one at once."""

import os
import signal
import socket
import sys
import time
from collections.abc import Iterable, Sequence

from fwd.supervisor.words import GO, SPARE, STORE

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGCHLD)
"""Those that the supervisor hears of instead of ending."""
_PROGRAM = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + "/__main__.py"  # noqa: PTH100, PTH120 - pathlib costs memory


class Child:
    """Its number, our end of the talk, and since when it is the agent."""

    def __init__(self, pid: int, talk: socket.socket) -> None:
        self.pid = pid
        self.talk: socket.socket | None = talk
        self.began = time.monotonic()

    @classmethod
    def start(cls, arguments: Sequence[str], *, waits: bool) -> "Child":
        """`fwd run` with these arguments; with `waits` it does nothing until go().

        Raises OSError.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # Until the new process has handlers of its own a signal to it would be lost in ours.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        with theirs:
            try:
                ours.setblocking(False)
                pid = os.fork()
                if pid == 0:
                    _become(arguments, theirs, mask, waits=waits)
            except BaseException:
                ours.close()
                raise
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        return cls(pid, ours)

    def go(self) -> None:
        """It is the agent now.  OSError: it is none, and will not be."""
        if self.talk is None:
            raise BrokenPipeError
        self.talk.send(GO)
        self.began = time.monotonic()

    def hang_up(self) -> None:
        """No more talk.  One that waits ends of that."""
        if self.talk is not None:
            self.talk.close()
            self.talk = None


def _become(
    arguments: Sequence[str], talk: socket.socket, mask: Iterable[int], *, waits: bool
) -> None:
    """In the new process, with SIGNALS blocked; `mask` is what was before."""
    try:
        # A terminal's Ctrl-C is for the supervisor, which passes it on: a second one would kill.
        os.setpgid(0, 0)
        os.set_inheritable(talk.fileno(), True)
        signal.set_wakeup_fd(-1)  # the supervisor's
        for one in SIGNALS:
            if signal.getsignal(one) != signal.SIG_IGN:
                signal.signal(one, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        # This package, and nothing of the current directory.
        words = [sys.executable, "-P", _PROGRAM, "run", *arguments]
        told = {STORE: str(talk.fileno())} | ({SPARE: "1"} if waits else {})
        os.execve(words[0], words, os.environ | told)  # noqa: S606
    finally:
        os._exit(127)
