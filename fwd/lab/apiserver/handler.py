# SPDX-License-Identifier: Apache-2.0
"""A request's way: named in the words of RBAC, written down, hit by its faults, let in, answered.

Leaves what the answers are to ``listing``, ``watching``, ``patching`` and ``access``, and how they
become bytes to ``respond``.  A watch sleeps until the store or its own schedule has something for
it; what it sends are the store's bytes.
"""

import asyncio
import contextlib
import time
from collections import deque
from typing import Final

import msgspec
from aiohttp import web
from msgspec import Struct

from fwd.lab.apiserver import access, answers, listing, patching
from fwd.lab.apiserver.access import Access, Wanted
from fwd.lab.apiserver.answers import Object, Refusal
from fwd.lab.apiserver.faults import Answer, Cut, Delay, Expire, Faults
from fwd.lab.apiserver.query import is_true, number
from fwd.lab.apiserver.respond import Reply
from fwd.lab.apiserver.store import Store
from fwd.lab.apiserver.watching import Timing, Watch

_REQUESTS_KEPT: Final = 100_000
_VERSION: Final = {
    "major": "1",
    "minor": "36",
    "emulationMajor": "1",
    "emulationMinor": "36",
    "minCompatibilityMajor": "1",
    "minCompatibilityMinor": "35",
    "gitVersion": "v1.36.2",
    "gitCommit": "98b35193b2ac7a23a673325f5e9b830ecd5ba406",
    "gitTreeState": "clean",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "go1.26.6",
    "compiler": "gc",
    "platform": "linux/amd64",
}
_VERSION_TEXT: Final = msgspec.json.format(msgspec.json.encode(_VERSION), indent=2)


class Seen(Struct):
    """A request as it came.

    Attributes:
        at: when, by ``time.monotonic()``.
        resource: with its subresource, as RBAC has it; empty for a plain path.
        status: of the answer; 0 until there is one.
    """

    at: float
    peer: str
    user: str
    verb: str
    resource: str
    name: str
    path: str
    query: dict[str, str]
    content_type: str
    user_agent: str
    body: bytes = b""
    status: int = 0


class Handler:
    """All that a request meets; ``watches`` are the open ones, each with what wakes it."""

    def __init__(self, nodes: Store, *, access: Access, timing: Timing) -> None:
        self.nodes = nodes
        self.pods: dict[tuple[str, str], Object] = {}  # by namespace and name
        self.access = access
        self.faults = Faults()
        self.requests: deque[Seen] = deque(maxlen=_REQUESTS_KEPT)
        self.watches: dict[Watch, asyncio.Event] = {}
        self._timing = timing
        nodes.subscribe(self.wake)

    def wake(self) -> None:
        """Have every watch look for what there is to send."""
        for wake in self.watches.values():
            wake.set()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request; called by aiohttp."""
        watch = is_true(request.query, "watch")
        wanted = access.wanted(request.method, request.path, watch=watch)
        seen = _seen(request, wanted, body=await request.read())
        self.requests.append(seen)
        reply = Reply(request, on_status=lambda status: setattr(seen, "status", status))
        try:
            await self._answer(wanted, seen, reply)
        except Refusal as refusal:
            await reply.refuse(refusal)
        except ConnectionError:
            pass  # the client went away, or was cut off
        return reply.response

    async def _answer(self, wanted: Wanted, seen: Seen, reply: Reply) -> None:
        expire = await self._suffer(wanted, seen.peer, reply)
        seen.user = self.access.user(reply.authorization)
        self.access.authorize(seen.user, wanted)
        if expire and wanted.verb != "watch":
            raise answers.list_expired()
        match wanted.verb, wanted.resource:
            case "get", "":
                await reply.send(_VERSION_TEXT if wanted.path == "/version" else b"ok")
            case "get", "pods":
                await reply.send(self._pod(wanted))
            case "get", "nodes":
                await reply.send(patching.existing(self.nodes, wanted.name).raw + b"\n")
            case "list", "nodes":
                await reply.stream(listing.answer(self.nodes, seen.query).pieces())
            case "watch", "nodes":
                await self._watch(wanted, seen, reply, expire=expire)
            case "patch", "nodes/status":
                made = patching.patch_status(
                    self.nodes,
                    wanted.name,
                    content_type=seen.content_type,
                    patch=seen.body,
                    dry_run=seen.query.get("dryRun") == "All",
                )
                await reply.send(made + b"\n")
            case _:  # somebody was given a right that the stand-in knows nothing of
                raise answers.not_found(wanted.resource, wanted.name)

    async def _suffer(self, wanted: Wanted, peer: str, reply: Reply) -> bool:
        """Let the request's faults happen; returns whether its revision is to be too old."""
        expire = False
        for effect in self.faults.take(wanted, peer):
            match effect:
                case Delay(seconds):
                    await asyncio.sleep(seconds)
                case Answer():
                    raise effect.refusal()
                case Expire():
                    expire = True
                case Cut():
                    reply.cut(effect)
        return expire

    async def _watch(self, wanted: Wanted, seen: Seen, reply: Reply, *, expire: bool) -> None:
        loop = asyncio.get_running_loop()
        watch = Watch(
            self.nodes, seen.query, now=loop.time(), timing=self._timing, name=wanted.name
        )
        if expire:
            revision = number(seen.query, "resourceVersion")
            watch.refuse(answers.expired(revision, self.nodes.revision))
        wake = self.watches[watch] = asyncio.Event()
        try:
            await reply.begin()
            while not watch.over:
                wake.clear()
                for piece in watch.take(loop.time()):
                    await reply.write(piece)
                if not watch.over:
                    await _wait(wake, watch.due - loop.time())
            await reply.end()
        finally:
            del self.watches[watch]

    def _pod(self, wanted: Wanted) -> Object:
        try:
            return self.pods[wanted.namespace, wanted.name]
        except KeyError:
            raise answers.not_found("pods", wanted.name) from None


async def _wait(wake: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(max(0.0, seconds)):
            await wake.wait()


def _seen(request: web.BaseRequest, wanted: Wanted, *, body: bytes) -> Seen:
    return Seen(
        at=time.monotonic(),
        peer=request.remote or "",
        user="",
        verb=wanted.verb,
        resource=wanted.resource,
        name=wanted.name,
        path=request.path,
        query=dict(request.query),
        content_type=request.headers.get("Content-Type", ""),
        user_agent=request.headers.get("User-Agent", ""),
        body=body,
    )
