# SPDX-License-Identifier: Apache-2.0
"""The agent's unix socket: one request a connection, one answer, then close.  Root only.

A request is one line of JSON, e.g. {"want": "status"}.  The answer is what that request's server
makes it: one document, or a stream that lasts until either side has enough.  What cannot be served
is answered with {"error": "why"}.
"""

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Self, TypeAlias

import msgspec
from msgspec import Struct

from fwd.core.unreadable import UNREADABLE
from fwd.model import FwdError
from fwd.ops.lockholder import holder_of, is_locked
from fwd.ops.rootsocket import RootSocket, check_peer

SOCKET_NAME = "fwd.sock"
SEND_SECONDS = 5.0
"""Whoever reads slower than that is asleep."""
_ASK_SECONDS = 5.0
_READ_SECONDS = 5.0
_MOST_ASKERS = 16
GONE = "the agent broke off: it ended, another took over, or this was too slow to read"
"""What an asker says of a stream without its end."""


class StatusRequest(Struct, frozen=True, tag_field="want", tag="status"):
    """The document of the moment."""


class DropsRequest(Struct, frozen=True, tag_field="want", tag="drops"):
    """Packets that were dropped, a JSON line each; follow: and those that will be."""

    follow: bool = False


class CaptureRequest(Struct, frozen=True, tag_field="want", tag="capture"):
    """Packets as they pass; see `ops.capturing`."""

    filter: str = ""
    snaplen: int = 0
    """Bytes of each packet; 0: all."""
    seconds: float = 60.0
    most_bytes: int = 64 << 20


Request: TypeAlias = StatusRequest | DropsRequest | CaptureRequest


class Refused(Struct, frozen=True):
    """Why there is no other answer."""

    error: str


_TOO_MANY = msgspec.json.encode(Refused("too many ask at once; try again")) + b"\n"
_TOO_LONG = msgspec.json.encode(Refused("a request is one line of at most 64 KiB")) + b"\n"


class Asker:
    """Who is answered: sends with a time limit, and knows when the other side has gone."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._gone = asyncio.ensure_future(reader.read(1))

    async def send(self, data: bytes) -> None:
        """Raises OSError or TimeoutError if the other side does not take it."""
        self._writer.write(data)
        async with asyncio.timeout(SEND_SECONDS):
            await self._writer.drain()

    async def send_line(self, value: object) -> None:
        """As a line of JSON."""
        await self.send(msgspec.json.encode(value) + b"\n")

    async def stays(self, seconds: float) -> bool:
        """Waits that long; whether the other side is still there."""
        await asyncio.wait([self._gone], timeout=seconds)
        return not self._gone.done()

    def close(self) -> None:
        """No more answers."""
        self._gone.cancel()


Serve: TypeAlias = Callable[[Request, Asker], Awaitable[None]]


class ControlServer:
    """Listens in the run directory."""

    def __init__(self, path: RootSocket, serve: Serve) -> None:
        self._path = path
        self._serve = serve
        self._answering: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server

    @classmethod
    async def open(cls, run_dir: Path, serve: Serve) -> Self:
        """Nobody finds it before `take_name`.  Raises OSError."""
        path = RootSocket.beside(run_dir / SOCKET_NAME, socket.SOCK_STREAM)
        opened = cls(path, serve)
        try:
            opened._server = await asyncio.start_unix_server(
                opened._on_connection, sock=path.listener
            )
        except BaseException:
            path.close()
            raise
        return opened

    def take_name(self) -> None:
        """In place of the agent before: the caller holds the run dir's lock.  Raises OSError."""
        self._path.take_name()

    def leave_name(self) -> None:
        """Another agent listens, or will."""
        self._path.leave_name()

    def close(self) -> None:
        """Stops listening, ends the streams and removes the socket."""
        self._server.close()
        for task in self._answering:
            task.cancel()
        self._path.close()

    async def _on_connection(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._answering) >= _MOST_ASKERS:
            writer.write(_TOO_MANY)
            writer.close()
            return
        self._answering.add(task)
        try:
            check_peer(writer.get_extra_info("socket"))
            await self._answer(reader, writer)
        except (OSError, TimeoutError):
            writer.transport.abort()  # the asker is gone or asleep: no loss of ours
        except asyncio.CancelledError:
            writer.transport.abort()  # we go
        finally:
            self._answering.discard(task)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_ASK_SECONDS):
                line = await reader.readline()
        except ValueError:  # more than the reader holds
            writer.write(_TOO_LONG)
            return
        if not line:
            return  # only a look at who listens
        asker = Asker(reader, writer)
        try:
            await self._serve(msgspec.json.decode(line, type=Request), asker)
        except (FwdError, *UNREADABLE) as error:
            await asker.send_line(Refused(str(error)))
        finally:
            asker.close()


class Connection:
    """The other side: asks, and reads the answer, in a plain program."""

    def __init__(self, run_dir: Path, request: Request) -> None:
        """Raises FwdError if no agent listens there."""
        self._run_dir = run_dir
        self._path = run_dir / SOCKET_NAME
        self._limit, self._end = _READ_SECONDS, 0.0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(self._limit)
        try:
            self._socket.connect(str(self._path))
            with suppress(BrokenPipeError, ConnectionResetError):  # refused unheard: it says why
                self._socket.sendall(msgspec.json.encode(request) + b"\n")
        except OSError as error:
            self._socket.close()
            raise self._about(error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def endless(self) -> None:
        """From now on reads wait as long as it takes."""
        self._socket.settimeout(None)

    def until(self, seconds: float) -> None:
        """From now on reads wait so long all together; what has come by then is still read."""
        self._limit, self._end = seconds, time.monotonic() + seconds

    def read(self, size: int = 1 << 16) -> bytes:
        """Up to that many bytes; empty at the end."""
        if self._end:
            self._socket.settimeout(max(self._end - time.monotonic(), 0.1))
        try:
            return self._socket.recv(size)
        except ConnectionResetError:  # an end, too: it had not read all that we said
            return b""
        except OSError as error:
            raise self._about(error) from error

    def read_exactly(self, size: int) -> bytes:
        """So many bytes, fewer at the end."""
        parts = bytearray()
        while len(parts) < size and (more := self.read(size - len(parts))):
            parts += more
        return bytes(parts)

    def lines(self) -> "Lines":
        """What comes, by lines."""
        return Lines(self)

    def _about(self, error: OSError) -> FwdError:
        if isinstance(error, FileNotFoundError | ConnectionRefusedError):
            return self._about_nobody()
        if isinstance(error, PermissionError):
            return FwdError(f"{self._path} is for root only")
        if isinstance(error, TimeoutError):
            return FwdError(f"the agent at {self._path} did not answer in {self._limit:.0f} s")
        return FwdError(f"{self._path}: {error.strerror or error}")

    def _about_nobody(self) -> FwdError:
        pid = holder_of(self._run_dir)
        if pid is not None or is_locked(self._run_dir):
            who = "" if pid is None else f" (pid {pid})"
            return FwdError(
                f"the agent{who} does not answer yet: it waits for its leases (its log and "
                "/readyz say for what), or is ending"
            )
        return FwdError(
            f"no agent answers at {self._path}: is `fwd run` running, with this --run-dir?"
        )


class Lines:
    """An iterator of lines; what follows a line that was taken stays readable as bytes."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._rest = bytearray()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        while b"\n" not in self._rest:
            more = self._connection.read()
            if not more:
                raise StopIteration
            self._rest += more
        line, _, rest = bytes(self._rest).partition(b"\n")
        self._rest = bytearray(rest)
        refuse(line)
        return line

    def read_exactly(self, size: int) -> bytes:
        """So many bytes behind the last line, fewer at the end."""
        if len(self._rest) < size:
            self._rest += self._connection.read_exactly(size - len(self._rest))
        found, self._rest = bytes(self._rest[:size]), self._rest[size:]
        return found


def ask(run_dir: Path, request: Request) -> bytes:
    """The whole answer of the agent that runs with this directory.  FwdError if there is none."""
    parts = bytearray()
    with Connection(run_dir, request) as connection:
        while part := connection.read():
            parts += part
    answer = bytes(parts)
    refuse(answer)
    if not answer.endswith(b"\n"):
        raise FwdError(GONE)
    return answer


def refuse(answer: bytes) -> None:
    """Raises FwdError if the answer is that there is none."""
    if not answer.startswith(b'{"error":'):
        return
    with suppress(*UNREADABLE):
        raise FwdError(msgspec.json.decode(answer, type=Refused).error)
