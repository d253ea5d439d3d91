# SPDX-License-Identifier: Apache-2.0
"""A process that is an agent, or would be one at once."""

import os
import signal
import socket
import sys
import time
from collections.abc import Sequence

from fwd.supervisor.words import GO, SPARE, STORE


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
        with theirs:
            try:
                ours.setblocking(False)
                pid = os.fork()
            except BaseException:
                ours.close()
                raise
            if pid == 0:
                _become(arguments, theirs, waits=waits)
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


def _become(arguments: Sequence[str], talk: socket.socket, *, waits: bool) -> None:
    """In the new process."""
    try:
        # A terminal's Ctrl-C is for the supervisor, which passes it on: a second one would kill.
        os.setpgid(0, 0)
        os.set_inheritable(talk.fileno(), True)
        for one in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(one, signal.SIG_DFL)
        words = [sys.executable, "-m", "fwd", "run", *arguments]
        told = {STORE: str(talk.fileno())} | ({SPARE: "1"} if waits else {})
        os.execve(words[0], words, os.environ | told)  # noqa: S606
    finally:
        os._exit(127)
