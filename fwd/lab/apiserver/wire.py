# SPDX-License-Identifier: Apache-2.0
"""The connections of the stand-in: aiohttp's, over a transport that can be cut or go silent.

This is the one place that reaches below aiohttp's public interface: a connection has to end after
an exact number of bytes, in the middle of a chunk or of a header, and no HTTP server offers that.
"""

import asyncio
import fcntl
import socket
import struct
import termios
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from fwd.lab.apiserver.faults import How

_POLL: Final = 0.001  # seconds between looks at whether what was sent has arrived
_POLLS: Final = 1000
_PAUSE: Final = 0.02  # seconds; that a client's parser meets the garbage in a read of its own
_GARBAGE: Final = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n"

_Data = bytes | bytearray | memoryview


class Transport(asyncio.Transport):
    """A transport that counts what is written; ends or falls silent where it was told to."""

    def __init__(self, below: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._below = below
        self._loop = loop
        self._left: int | None = None  # bytes until the cut
        self._how = How.RESET
        self._dead = False
        self._held: list[_Data] | None = None

    def cut_after(self, count: int, how: How) -> None:
        """Send ``count`` more bytes and no more."""
        self._left, self._how = count, how
        if count <= 0:
            self._end()

    def cut(self, how: How) -> None:
        """End now, after what was written."""
        self.cut_after(0, how)

    @property
    def frozen(self) -> bool:
        """Whether writes are held back."""
        return self._held is not None

    def freeze(self) -> None:
        """Hold back what is written from now on."""
        if self._held is None:
            self._held = []

    def thaw(self) -> None:
        """Send what was held back."""
        held, self._held = self._held or [], None
        for data in held:
            self.write(data)

    def write(self, data: _Data) -> None:
        """As asyncio's."""
        if self._dead:
            return
        if self._held is not None:
            self._held.append(bytes(data))
        elif self._left is None:
            self._below.write(data)
        else:
            self._below.write(bytes(data)[: self._left])
            self._left -= len(data)
            if self._left <= 0:
                self._end()

    def writelines(self, list_of_data: Iterable[_Data]) -> None:
        """As asyncio's."""
        self.write(b"".join(list_of_data))

    def close(self) -> None:
        """As asyncio's, but a connection that fell silent stays open, whatever HTTP wants."""
        if not self._dead and self._held is None:
            self._below.close()

    def abort(self) -> None:
        """As asyncio's."""
        self._below.abort()

    def is_closing(self) -> bool:
        """As asyncio's."""
        return self._below.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ANN401 - asyncio's
        """As asyncio's."""
        return self._below.get_extra_info(name, default)

    def pause_reading(self) -> None:
        """As asyncio's."""
        self._below.pause_reading()

    def resume_reading(self) -> None:
        """As asyncio's."""
        self._below.resume_reading()

    def get_write_buffer_size(self) -> int:
        """As asyncio's."""
        return self._below.get_write_buffer_size()

    def _end(self) -> None:
        self._dead = True
        if self._how is How.GARBAGE:
            self._loop.call_later(_PAUSE, self._below.write, _GARBAGE)
        elif self._how is not How.SILENCE:
            self._close_when_sent(_POLLS)

    def _close_when_sent(self, polls: int) -> None:
        if self._below.is_closing():  # asyncio's TLS transport then forgets its socket
            return
        sock = self._below.get_extra_info("socket")
        if sock is None or sock.fileno() < 0:
            return
        # A reset throws away what the kernel has not sent: wait until all has been acknowledged.
        (unsent,) = struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, b"\0" * 4))
        if (unsent or self._below.get_write_buffer_size()) and polls > 0:
            self._loop.call_later(_POLL, self._close_when_sent, polls - 1)
            return
        if self._how is How.RESET:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._below.abort()


class Connection(RequestHandler):
    """One connection; ``wire`` is there once it is made."""

    __slots__ = ("wire",)

    def __init__(self, manager: web.Server, *, loop: asyncio.AbstractEventLoop) -> None:
        # No logs: the lab's own record of requests says more.
        super().__init__(manager, loop=loop, access_log=None)  # type: ignore[arg-type]
        self.wire: Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Put the cutting transport below HTTP."""
        assert isinstance(transport, asyncio.Transport)
        self.wire = Transport(transport, self._loop)
        super().connection_made(self.wire)
        assert isinstance(self._manager, Server)
        if self._manager.frozen:
            self.freeze()

    def freeze(self) -> None:
        """Send nothing any more; who writes much waits, so that it does not pile up."""
        if self.wire is not None:
            self.wire.freeze()
            self.pause_writing()

    def thaw(self) -> None:
        """Go on."""
        if self.wire is not None:
            self.wire.thaw()
            self.resume_writing()

    # aiohttp counts on asyncio to call these in turns; a freeze may come between.

    def pause_writing(self) -> None:
        """As asyncio's, also twice."""
        if not self.writing_paused:
            super().pause_writing()

    def resume_writing(self) -> None:
        """As asyncio's, also twice; in vain while frozen."""
        if self.writing_paused and not (self.wire and self.wire.frozen):
            super().resume_writing()


class Server(web.Server):
    """aiohttp's low-level server with our connections; a handler ends with its connection."""

    def __init__(self, handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]) -> None:
        super().__init__(handler, handler_cancellation=True)
        self.frozen = False

    def __call__(self) -> Connection:
        """A connection; called by asyncio."""
        return Connection(self, loop=self._loop)

    def freeze(self) -> None:
        """Send nothing any more, on connections that are open and on new ones."""
        self.frozen = True
        for connection in self._ours:
            connection.freeze()

    def thaw(self) -> None:
        """Send what was held back, and go on."""
        self.frozen = False
        for connection in self._ours:
            connection.thaw()

    def cut(self, how: How) -> None:
        """End every connection that is open."""
        for connection in self._ours:
            if connection.wire is not None:
                connection.wire.cut(how)

    @property
    def _ours(self) -> list[Connection]:
        return [each for each in self.connections if isinstance(each, Connection)]


def of(request: web.BaseRequest) -> Transport:
    """The transport that a request came by."""
    assert isinstance(request.protocol, Connection)
    assert request.protocol.wire is not None
    return request.protocol.wire
