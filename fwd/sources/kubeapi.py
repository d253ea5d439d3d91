# SPDX-License-Identifier: Apache-2.0
"""The five requests that this agent makes of an API server, and nothing else of it.

pods get; nodes get, list, watch; nodes/status patch: flannel's ClusterRole allows no more.  Bodies
are given as bytes, of bounded length; what they mean is `core.nodewire`'s, when to ask again is
`sources.kubewatch`'s and `sources.kubenode`'s.
"""

import ssl
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError
from msgspec import Struct

from fwd.core import nodewire
from fwd.core.lines import LINE_LIMIT
from fwd.sources import kubebody, kubeclient
from fwd.sources.contact import NoAnswer, ServerError
from fwd.sources.kubeclient import ApiAccess
from fwd.sources.kubecredentials import Credentials

PAGE_LIMIT = 8 << 20
"""Bytes of a page that are held."""
_ERROR_LIMIT = 1 << 16
_LONGEST_RETRY_AFTER = 60.0
_STRATEGIC_MERGE = "application/strategic-merge-patch+json"
_NODES = "/api/v1/nodes"
_BROKEN_OFF = (aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError, HttpProcessingError)


class Patience(Struct, frozen=True):
    """How long to wait for what, in seconds."""

    connect: float = 5.0
    answer: float = 15.0
    """For the next byte of an answer."""
    silence: float = 90.0
    """For the next byte of a watch.  Bookmarks come about once a minute."""


class Unreachable(NoAnswer):
    """No answer, or half of one: no connection, broken off, TLS."""


class Silent(Unreachable):
    """Nothing more came for longer than it should."""


class Refused(ServerError):  # noqa: N818
    """The API server's no.  `code` is the HTTP status; `retry_after` seconds, 0 if not said."""

    def __init__(self, text: str, *, code: int, retry_after: float = 0.0) -> None:
        super().__init__(text)
        self.code = code
        self.retry_after = retry_after


class Oversized(Struct, frozen=True):
    """The first bytes of an answer that is too long to be held."""

    start: bytes


class KubeApi:
    """One API server.  Connects when first asked.

    Credentials are read again before a request if that is a minute ago, as a token that is replaced
    in time is never refused; and after a 401, as one that is replaced late is.

    Every request raises ServerError; ConfigError if there is no usable configuration any more.
    """

    def __init__(self, access: ApiAccess, *, patience: Patience | None = None) -> None:
        self._credentials = Credentials(access)
        self._patience = patience or Patience()
        self._transport: Any = None
        self._has_stale_transport = False
        self._answers: set[aiohttp.ClientResponse] = set()
        """That are being read."""
        self.server = ""
        """The URL; empty before open()."""
        self.date = ""
        """What the last answer said of the time (RFC 9110, 6.6.1); empty: nothing."""

    async def open(self) -> Any:  # noqa: ANN401 - the client's Configuration
        """Reads the configuration.  ConfigError if there is none that can be used."""
        configuration = await self._credentials.current()
        self.server = str(configuration.host)
        return configuration

    async def close(self) -> None:
        """Closes all connections, and ends a plugin that is being asked."""
        await self._credentials.close()
        await self._disconnect()

    async def _disconnect(self) -> None:
        self._break_off()
        transport, self._transport = self._transport, None
        self._has_stale_transport = False
        if transport is not None:
            await transport.close()

    def reconnect(self) -> None:
        """Breaks off what is being read; the next request begins with a new connection."""
        self._has_stale_transport = True
        self._break_off()

    def _break_off(self) -> None:
        """Tells whoever reads an answer; aiohttp closes the connection beneath without a word."""
        for answer in tuple(self._answers):
            answer.close()

    async def pod(self, namespace: str, name: str) -> bytes:
        """A Pod."""
        path = f"/api/v1/namespaces/{quote(namespace, safe='')}/pods/{quote(name, safe='')}"
        async with self._request("GET", path, doing="get pods") as body:
            return await _whole(body, path)

    async def node(self, name: str) -> bytes:
        """A Node."""
        path = f"{_NODES}/{quote(name, safe='')}"
        async with self._request("GET", path, doing="get nodes") as body:
            return await _whole(body, path)

    async def page(self, *, limit: int, token: str = "") -> bytearray | Oversized:
        """Some Nodes: the first `limit` ones, or those from `token` on."""
        query = {"limit": str(limit)} | ({"continue": token} if token else {})
        async with self._request("GET", _NODES, query=query, doing="list nodes") as body:
            return await _bounded(body, PAGE_LIMIT)

    @asynccontextmanager
    async def watch(self, version: str, *, seconds: int) -> AsyncIterator[AsyncIterator[bytes]]:
        """What changes after `version`, in chunks cut anywhere; the server ends it in time."""
        query = {
            "watch": "true",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(seconds),
        }
        request = self._request(
            "GET", _NODES, query=query, doing="watch nodes", read=self._patience.silence
        )
        async with request as body:
            yield body

    async def patch_status(
        self, name: str, patch: dict[str, Any], *, dry_run: bool = False
    ) -> bytearray | Oversized:
        """A strategic merge into a Node through its status, which takes metadata too."""
        path = f"{_NODES}/{quote(name, safe='')}/status"
        query = {"dryRun": "All"} if dry_run else None  # all is done but keeping it
        doing = "patch nodes/status"
        async with self._request("PATCH", path, query=query, sent=patch, doing=doing) as body:
            return await _bounded(body, LINE_LIMIT)

    @asynccontextmanager
    async def _request(
        self,
        method: str,
        path: str,
        *,
        doing: str,
        query: dict[str, str] | None = None,
        sent: dict[str, Any] | None = None,
        read: float | None = None,
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Body of an answer of status 200.  All that goes wrong, also later, is a ServerError."""
        response = None
        seconds = self._patience.answer if read is None else read
        try:
            target = f"{path}?{urlencode(query)}" if query else path
            response = await self._send(method, target, sent=sent, read=seconds)
            if response.status == 401 and await self._has_new_credentials(response):
                response.release()
                response = await self._send(method, target, sent=sent, read=seconds)
            self._answers.add(response)
            async with aclosing(kubebody.steps(response.content, seconds=seconds)) as body:
                if response.status != 200:
                    is_nobody = self._credentials.are_none
                    raise await _refusal(response, body, doing, is_nobody=is_nobody)
                yield body
        except (aiohttp.SocketTimeoutError, kubebody.StalledError) as error:
            raise Silent(f"cannot {doing}: {self.server} is silent") from error
        except ssl.SSLError as error:
            await self._begin_anew()  # certificates and authorities may be others by now
            raise Unreachable(f"cannot {doing}: {_line(error)}") from error
        except _BROKEN_OFF as error:
            raise Unreachable(f"cannot {doing}: the answer broke off") from error
        except aiohttp.ClientHttpProxyError as error:  # whose text has the proxy's password
            said = f"the proxy says {error.status} {error.message}"
            raise Unreachable(f"cannot {doing}: {said}") from error
        except (aiohttp.ClientError, OSError) as error:
            raise Unreachable(f"cannot {doing}: {_line(error)}") from error
        finally:
            if response is not None:
                self._answers.discard(response)
                response.release()  # to the pool if it was read to its end, else closed

    async def _send(
        self, method: str, target: str, *, sent: dict[str, Any] | None, read: float
    ) -> aiohttp.ClientResponse:
        configuration = await self.open()
        headers = {"Accept": "application/json", "User-Agent": "fwd"}
        if sent is not None:
            headers["Content-Type"] = _STRATEGIC_MERGE
        authorization = await kubeclient.authorization(configuration)
        if authorization is not None:
            headers["Authorization"] = authorization
        if self._has_stale_transport:
            await self._disconnect()
        patience = self._patience
        if self._transport is None:  # from here on nobody else may close it before it is used
            self._transport = kubeclient.transport(configuration, seconds=patience.connect)
        timeout = aiohttp.ClientTimeout(
            total=None, connect=patience.connect, sock_connect=patience.connect, sock_read=read
        )
        try:
            answer = await self._transport.request(
                method, self.server + target, headers=headers, body=sent, _request_timeout=timeout
            )
        except ValueError as error:
            if isinstance(error, aiohttp.ClientError | OSError):  # some of these are that, too
                raise
            raise aiohttp.ClientError(_line(error)) from error  # of a redirect, say
        response: aiohttp.ClientResponse = answer.response
        self.date = response.headers.get("Date", "")
        return response

    async def _has_new_credentials(self, refused: aiohttp.ClientResponse) -> bool:
        """After a 401: reads all there is to read again, and tells whether the token is another.

        If it is not, what changed may be a client certificate, if there is one: then the next
        request begins with a new connection.
        """
        configuration = await self._credentials.read()
        sent = refused.request_info.headers.get("Authorization")
        if await kubeclient.authorization(configuration) != sent:
            return True
        if configuration.cert_file:
            self._has_stale_transport = True
        return False

    async def _begin_anew(self) -> None:
        """The next request reads the configuration again and connects again."""
        self._credentials.outdate()
        await self._disconnect()


async def _bounded(body: AsyncIterator[bytes], limit: int) -> bytearray | Oversized:
    read = bytearray()
    async for step in body:
        read += step
        if len(read) > limit:
            return Oversized(bytes(read[:_ERROR_LIMIT]))
    return read


async def _whole(body: AsyncIterator[bytes], path: str) -> bytes:
    read = await _bounded(body, LINE_LIMIT)
    if isinstance(read, Oversized):
        raise Unreachable(f"the answer of {path} is longer than {LINE_LIMIT} bytes")
    return bytes(read)


async def _refusal(
    response: aiohttp.ClientResponse, body: AsyncIterator[bytes], doing: str, *, is_nobody: bool
) -> Refused:
    """The error that an answer other than 200 is; it says what is missing and who can help.

    `is_nobody`: whether we have no credentials.
    """
    read = await _bounded(body, _ERROR_LIMIT)
    said = nodewire.failure(read.start if isinstance(read, Oversized) else bytes(read))
    text = f"cannot {doing}: {said.message or response.reason} ({response.status})"
    verb, _, resource = doing.partition(" ")
    if response.status == 403:
        text += ": no token was sent, and" if is_nobody else ":"
        text += f' the ClusterRole lacks the verb "{verb}" for "{resource}"'
    elif response.status == 401:
        text += ": the token, or the kubeconfig's user, is not known to this API server"
    return Refused(
        text, code=response.status, retry_after=_seconds(response.headers.get("Retry-After", ""))
    )


def _seconds(text: str) -> float:
    """Retry-After in seconds, as Kubernetes writes it; 0 for anything else."""
    if not (text.isascii() and text.isdecimal()):
        return 0.0
    return min(float(text), _LONGEST_RETRY_AFTER)


def _line(error: BaseException) -> str:
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        error = error.os_error  # which has the name
    return " ".join(str(error).split()) or type(error).__name__
