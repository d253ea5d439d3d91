# SPDX-License-Identifier: Apache-2.0
"""The connection to etcd: gRPC to one of several endpoints, by a user or a certificate.

One connection at a time; when it fails, or its member has lost the others, the next endpoint is
tried, each once before a request fails.  With a user, its token goes with every request and is
asked for anew when etcd does not know it any more (tokens end after 5 minutes without use, and with
each restart).

The only importer of `grpclib`.
"""

import asyncio
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

from grpclib.client import Channel, StreamStreamMethod, UnaryUnaryMethod
from grpclib.const import Status
from grpclib.encoding.base import CodecBase
from grpclib.exceptions import GRPCError, ProtocolError, StreamTerminatedError
from grpclib.protocol import H2Protocol
from msgspec import Struct

from fwd.core.etcdrpc import AuthenticateRequest, AuthenticateResponse
from fwd.core.protobuf import Message, decode, encode
from fwd.model import ConfigError
from fwd.sources import etcdwords
from fwd.sources.apart import apart, outcome
from fwd.sources.contact import NoAnswer, ServerError
from fwd.sources.dialing import connect
from fwd.sources.etcdaccess import Endpoint, EtcdAccess, line

M = TypeVar("M", bound=Message)
T = TypeVar("T")


class EtcdPatience(Struct, frozen=True):
    """How long to wait for what, in seconds."""

    connect: float = 3.0
    answer: float = 5.0
    quiet: float = 20.0
    """So long a stream may say nothing before whoever reads it is told."""


class Unreachable(NoAnswer):
    """No answer of any endpoint, or half of one."""


class Refused(ServerError):  # noqa: N818
    """etcd's no."""

    may_be_done = False  # by an endpoint that was asked before and did not answer, say


class BadUser(Refused, ConfigError):  # noqa: N818
    """A user that etcd does not know, a wrong password, or none where one is needed."""

    cause = "user"


_PASSING = (Status.UNAVAILABLE, Status.DEADLINE_EXCEEDED, Status.CANCELLED)
"""Another member may do better."""
_UNCLEAR = (Status.UNKNOWN, Status.INTERNAL)  # of a proxy, too
_BROKEN = (GRPCError, StreamTerminatedError, ProtocolError, ValueError, OSError)
"""Of a connection; ValueError: a message that is none."""


class EtcdLink:
    """To one etcd, of one or several members.  Connects when first asked.

    Every request raises ServerError; ConfigError for certificates that cannot be used any more.
    """

    def __init__(self, access: EtcdAccess, *, patience: EtcdPatience | None = None) -> None:
        self._access = access
        self._patience = patience or EtcdPatience()
        self._place = 0
        self._connection: _Connection | None = None
        self._connecting = asyncio.Lock()
        self._token = ""
        self._is_without_users = False
        """A user is given, and etcd wants none."""

    @property
    def server(self) -> str:
        """The endpoint in use."""
        return self._access.endpoints[self._place].url

    def close(self) -> None:
        """Closes the connection; whoever waits for an answer fails, and the next one connects."""
        connection, self._connection = self._connection, None
        self.forget_token()
        if connection is not None:
            connection.channel.close()

    async def ask(self, name: str, request: Message, answer: type[M], *, doing: str) -> M:
        """One request, one answer; `name` as in KV/Range."""

        async def once(connection: _Connection) -> M:
            method: UnaryUnaryMethod[Any, M] = UnaryUnaryMethod(
                connection.channel, f"/etcdserverpb.{name}", Message, answer
            )
            return await method(request, metadata=self._metadata())

        return await self._trying(once, doing=doing)

    async def stream(
        self, name: str, request: Message, answer: type[M], *, doing: str
    ) -> AsyncGenerator[M | None, None]:
        """One request and its answers; None each time that there was none for too long.

        Ends where etcd ends it.
        """
        connection, stream, first = await self._trying(
            lambda connection: self._begin(connection, name, request, answer), doing=doing
        )
        try:
            said: M | None = first
            while said is not None:
                yield said
                reading = apart(stream.recv_message())
                try:
                    while not (await asyncio.wait({reading}, timeout=self._patience.quiet))[0]:
                        yield None
                    said = outcome(reading)
                finally:
                    reading.cancel()
        except _BROKEN as error:
            text = self._pass_over(connection, error)
            raise Unreachable(f"cannot {doing}: {text}") from error
        finally:
            await _leave(stream)

    def forget_token(self) -> None:
        """It is asked for anew, also where there was none."""
        self._token, self._is_without_users = "", False

    async def _begin(
        self, connection: "_Connection", name: str, request: Message, answer: type[M]
    ) -> tuple["_Connection", Any, M | None]:
        """A stream that has begun, and the first that it says."""
        method: StreamStreamMethod[Any, M] = StreamStreamMethod(
            connection.channel, f"/etcdserverpb.{name}", Message, answer
        )
        # A member that has lost the others ends it then, and does not just fall silent.
        stream = method.open(metadata=self._metadata() | {"hasleader": "true"})
        await stream.__aenter__()
        try:
            await stream.send_message(request)
            return connection, stream, await stream.recv_message()
        except BaseException:
            await _leave(stream)
            raise

    def _metadata(self) -> dict[str, str]:
        return {"token": self._token} if self._token else {}

    async def _trying(self, once: Callable[["_Connection"], Awaitable[T]], *, doing: str) -> T:
        """Does it at the endpoint in use, and if that is out of reach at each other one."""
        failures: list[str] = []
        is_anew = False
        while len(failures) < len(self._access.endpoints):
            connection = None
            try:
                connection = await self._connected()
                if not self._token and self._access.username and not self._is_without_users:
                    await self._authenticate(connection)
                return await self._in_time(once(connection), connection)
            except GRPCError as error:
                text = error.message or error.status.name
                if etcdwords.wants_token(text, self._access.username) and not is_anew:
                    self.forget_token()
                    is_anew = True
                    continue
                if error.status not in _PASSING:
                    refused = self._refusal(text, doing=doing)
                    refused.may_be_done = bool(failures) or error.status in _UNCLEAR
                    raise refused from error
                failures.append(self._pass_over(connection, error))
            except _BROKEN as error:
                if isinstance(error, ConfigError):
                    raise
                failures.append(self._pass_over(connection, error))
        raise Unreachable(f"cannot {doing}: {'; '.join(failures)}")

    async def _in_time(self, work: Awaitable[T], connection: "_Connection") -> T:
        """Its result.  TimeoutError, which is an OSError, if it takes too long."""
        task = apart(work)
        try:
            if not (await asyncio.wait({task}, timeout=self._patience.answer))[0]:
                raise TimeoutError
        finally:
            task.cancel()
        result = outcome(task)
        connection.has_answered = True
        return result

    def _refusal(self, text: str, *, doing: str) -> Refused:
        kind = BadUser if etcdwords.is_of_user(text) else Refused
        return kind(f"cannot {doing}: {etcdwords.explained(text, self._access.username)}")

    async def _connected(self) -> "_Connection":
        """The connection to the endpoint in use."""
        async with self._connecting:
            if self._connection is None:
                endpoint = self._access.endpoints[self._place]
                context = self._access.context() if endpoint.is_tls else None
                channel = _Channel(endpoint.host, endpoint.port, codec=_Codec(), ssl=context)
                channel.seconds = self._patience.connect
                try:
                    await channel.__connect__()
                except BaseException:
                    channel.close()
                    raise
                self._connection = _Connection(self._place, channel)
            return self._connection

    async def _authenticate(self, connection: "_Connection") -> None:
        method: UnaryUnaryMethod[Any, AuthenticateResponse] = UnaryUnaryMethod(
            connection.channel, "/etcdserverpb.Auth/Authenticate", Message, AuthenticateResponse
        )
        request = AuthenticateRequest(self._access.username, self._access.password)
        try:
            self._token = (await self._in_time(method(request), connection)).token
        except GRPCError as error:
            if not etcdwords.is_without_users(error.message or ""):
                raise
            self._is_without_users = True

    def _pass_over(self, connection: "_Connection | None", error: Exception) -> str:
        """Leaves this connection and its endpoint, unless somebody has meanwhile.

        None: there was none to the endpoint in use.  Returns what failed where.
        """
        place = self._place if connection is None else connection.place
        endpoint = self._access.endpoints[place]
        has_answered = connection is not None and connection.has_answered
        text = _said(error, endpoint, is_first=not has_answered)
        if connection is self._connection:
            self.close()
            self._place = (place + 1) % len(self._access.endpoints)
        return f"{endpoint.url}: {text}"


class _Channel(Channel):
    """One whose name is looked up beside the loop.  grpclib calls `_create_connection` for it."""

    seconds: float
    """In which it must be connected."""

    async def _create_connection(self) -> H2Protocol:
        to = self._host, self._port
        return await connect(self._protocol_factory, to, tls=self._ssl, seconds=self.seconds)


class _Connection(Struct, eq=False):
    """To which of the endpoints."""

    place: int
    channel: Channel
    has_answered: bool = False


class _Codec(CodecBase):
    __content_subtype__ = "proto"

    def encode(self, message: Any, message_type: Any) -> bytes:  # noqa: ANN401, ARG002
        return encode(message)

    def decode(self, data: bytes, message_type: Any) -> Any:  # noqa: ANN401
        return decode(data, message_type)


def _said(error: Exception, endpoint: Endpoint, *, is_first: bool) -> str:
    if isinstance(error, GRPCError):
        return (error.message or error.status.name).removeprefix("etcdserver: ")
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {line(error)}"
    if isinstance(error, StreamTerminatedError) and is_first:
        hint = "take the client's certificate" if endpoint.is_tls else "want https"
        return f"the connection broke off: does this etcd {hint}?"
    if isinstance(error, ConnectionResetError) and is_first and endpoint.is_tls:
        return "the connection broke off: does this etcd want http?"
    if isinstance(error, StreamTerminatedError):
        return "the connection broke off"
    return line(error)


async def _leave(stream: Any) -> None:  # noqa: ANN401 - grpclib's
    """Ends a stream, whatever became of it, and waits for nothing."""
    with suppress(Exception):
        await stream.__aexit__(asyncio.CancelledError, asyncio.CancelledError(), None)
