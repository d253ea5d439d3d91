# SPDX-License-Identifier: Apache-2.0
"""Messages with descriptors between two processes of one owner, over a unix socket.

SOCK_SEQPACKET: a message is whole or not there, and its descriptors come with it.  Who is at the
other end the kernel says (SO_PEERCRED): only our own user, which for an agent is root.
"""

import asyncio
import os
import socket
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from fwd.core.handovertalk import MOST_BYTES, MOST_DESCRIPTORS, Message, decode, encode
from fwd.ops.rootsocket import check_peer
from fwd.supervisor.descriptors import receive_descriptors

_BUFFER = 1 << 20
"""Bytes a socket may hold: a message that does not fit would wait for ever."""


class Received:
    """A message and its descriptors, which are closed unless somebody took them."""

    def __init__(self, message: Message, descriptors: list[int]) -> None:
        self.message = message
        self._descriptors = descriptors

    def take(self) -> list[int]:
        """The descriptors, the caller's from now on."""
        taken, self._descriptors = self._descriptors, []
        return taken

    def close(self) -> None:
        """Closes those that nobody wanted."""
        for fd in self.take():
            os.close(fd)


class Channel:
    """One end.  Every wait has a limit; ValueError or OSError say what went wrong."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        sock.setblocking(False)
        with suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)

    @classmethod
    def connect(cls, path: Path) -> "Channel":
        """To the process that listens there.  OSError if none does."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        try:
            sock.setblocking(False)  # a full backlog is an error, not a wait
            sock.connect(str(path))
            return cls(sock)
        except BaseException:
            sock.close()
            raise

    def check_peer(self) -> None:
        """Raises PermissionError unless the other end is of our own user."""
        check_peer(self._sock)

    def send(self, message: Message, descriptors: Iterable[int] = ()) -> None:
        """At once.  OSError if the other end is gone or does not read."""
        fds = list(descriptors)
        data = encode(message)
        if len(data) > MOST_BYTES or len(fds) > MOST_DESCRIPTORS:
            raise ValueError(f"a message of {len(data)} bytes and {len(fds)} descriptors")
        socket.send_fds(self._sock, [data], fds, socket.MSG_NOSIGNAL)

    def receive(self, seconds: float) -> Received:
        """The next message, for who has nothing else to do meanwhile."""
        end = time.monotonic() + seconds
        while True:
            self._sock.settimeout(max(end - time.monotonic(), 0.001))
            try:
                return self._receive()
            except TimeoutError as error:
                raise TimeoutError(f"no answer in {seconds:g} s") from error
            finally:
                self._sock.setblocking(False)

    async def next(self, seconds: float) -> Received:
        """The next message, while the event loop goes on."""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    try:
                        return self._receive()
                    except BlockingIOError:
                        await readable(self._sock)
        except TimeoutError as error:
            raise TimeoutError(f"the other agent said nothing for {seconds:g} s") from error

    def _receive(self) -> Received:
        data, fds, flags = receive_descriptors(self._sock, MOST_BYTES, MOST_DESCRIPTORS)
        try:
            if not data:
                raise ConnectionResetError("the other process is gone")
            if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
                raise ValueError("a message that is too long")
            return Received(decode(data), fds)
        except BaseException:
            for fd in fds:
                os.close(fd)
            raise

    def close(self) -> None:
        """May be called again."""
        self._sock.close()


async def readable(sock: socket.socket) -> None:
    """Waits until there is something to receive, or to accept."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(sock, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(sock)
