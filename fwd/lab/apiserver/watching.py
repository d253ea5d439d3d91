# SPDX-License-Identifier: Apache-2.0
"""One watch: what it sends and when.  Pure, with ``now`` as an argument; ``server`` has the socket.

Bookmarks are as recorded: once an interval, and two seconds before the end that timeoutSeconds
makes; the latter is left out when the last bookmark already had this resourceVersion.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from fwd.lab.apiserver import answers
from fwd.lab.apiserver.answers import Refusal
from fwd.lab.apiserver.query import is_true, number, selected_name
from fwd.lab.apiserver.store import ExpiredError, Store

_PIECE: Final = 1 << 18
_BEFORE_THE_END: Final = 2  # seconds
# A Go struct's fields that have no omitempty: this is in every bookmark.
_EMPTY_NODE: Final[dict[str, Any]] = {
    "spec": {},
    "status": {
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 0}},
        "nodeInfo": dict.fromkeys(
            (
                *("machineID", "systemUUID", "bootID", "kernelVersion", "osImage"),
                *("containerRuntimeVersion", "kubeletVersion", "kubeProxyVersion"),
                *("operatingSystem", "architecture"),
            ),
            "",
        ),
    },
}


class Timing(Struct, frozen=True):
    """How long things take, in seconds; ``second`` is how long one of these is.

    Attributes:
        bookmark_interval: None for a server that sends no bookmark between; a real one sends none
            after a restart until something changes.
        default_timeout: of a watch that has no timeoutSeconds; a real server takes 1800 to 3600.
        grace: how long running watches stay open after SIGTERM (recorded: 20).
        second: below 1 lets a test see an hour pass.
    """

    bookmark_interval: float | None = 60.0
    default_timeout: float = 1800.0
    grace: float = 20.0
    second: float = 1.0


class Watch:
    """A watch from its request to its end; ``over`` says that all has been sent.

    Raises:
        Refusal: 400 or 422, parameters that make no sense.
    """

    def __init__(
        self, store: Store, query: Mapping[str, str], *, now: float, timing: Timing, name: str = ""
    ) -> None:
        self.over = False
        self._store = store
        self._timing = timing
        self._name = name or selected_name(query)
        self._position = number(query, "resourceVersion")
        self._bookmarks = is_true(query, "allowWatchBookmarks")
        self._initial = not self._position
        self._announce_end = is_true(query, "sendInitialEvents")
        if self._announce_end:
            if query.get("resourceVersionMatch") != "NotOlderThan":
                text = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
                raise answers.invalid(f"resourceVersionMatch: Forbidden: {text}")
            self._initial = True
        seconds = number(query, "timeoutSeconds") or timing.default_timeout
        self._end = now + seconds * timing.second
        self._marked = 0  # revision of the last bookmark
        self._bookmark_at = self._next_bookmark(now)
        self._injected: list[bytes] = []
        self._injected_at = 0  # revision: what changes later comes later, or not at all
        self._ends_after_injected = False

    @property
    def due(self) -> float:
        """When ``take`` has something to do even if nothing changes."""
        return min(self._end, self._bookmark_at)

    def inject(self, line: bytes, *, end: bool) -> None:
        """Send a line that no change made, such as an ERROR event, after all changes so far."""
        self._injected.append(line)
        self._injected_at = self._store.revision
        self._ends_after_injected |= end

    def refuse(self, refusal: Refusal) -> None:
        """Send this and nothing else."""
        self._initial = False
        self._position = self._store.revision
        self.inject(refusal.line, end=True)

    def end_by(self, when: float) -> None:
        """End at this time at the latest."""
        self._end = min(self._end, when)

    def take(self, now: float) -> Iterator[bytes]:
        """All that is to be sent now."""
        yield from self._start()
        try:
            changes = self._store.since(self._position)
            seen = self._store.revision  # now: while pieces are sent, there may be more
            if self._injected:
                seen = min(seen, self._injected_at)
                changes = [change for change in changes if change.revision <= seen]
        except ExpiredError:
            self.over = True
            yield answers.expired(self._position, self._store.floor).line
            return
        yield from _joined(
            change.now.line for change in changes if self._name in ("", change.now.name)
        )
        self._position = max(self._position, seen)
        if self._injected:
            lines, self._injected = self._injected, []
            yield b"".join(lines)
            if not self._ends_after_injected:
                yield from self.take(now)
            self.over = self.over or self._ends_after_injected
        elif now >= self._end:
            self.over = True
        elif now >= self._bookmark_at:
            yield from self._bookmark(now, seen)

    def _start(self) -> Iterator[bytes]:
        if not self._initial:
            return
        self._initial = False
        self._position = self._store.revision
        yield from _joined(
            item.added for item in self._store.state() if self._name in ("", item.name)
        )
        if self._announce_end and self._bookmarks:
            self._marked = self._position
            yield _mark(self._position, {"annotations": {"k8s.io/initial-events-end": "true"}})

    def _bookmark(self, now: float, revision: int) -> Iterator[bytes]:
        heartbeat = now < self._end - self._before_the_end
        if self._position <= revision and (heartbeat or revision > self._marked):
            self._marked = revision
            yield _mark(revision, {})
        self._bookmark_at = self._next_bookmark(now)

    @property
    def _before_the_end(self) -> float:
        return _BEFORE_THE_END * self._timing.second

    def _next_bookmark(self, now: float) -> float:
        if not self._bookmarks or self._timing.bookmark_interval is None:
            return math.inf
        last = self._end - self._before_the_end
        heartbeat = now + self._timing.bookmark_interval * self._timing.second
        return last if now < last < heartbeat else heartbeat


def _joined(lines: Iterator[bytes]) -> Iterator[bytes]:
    piece: list[bytes] = []
    size = 0
    for line in lines:
        piece.append(line)
        size += len(line)
        if size > _PIECE:
            yield b"".join(piece)
            piece, size = [], 0
    if piece:
        yield b"".join(piece)


def _mark(revision: int, extra: dict[str, Any]) -> bytes:
    metadata = {"resourceVersion": str(revision), **extra}
    node = {"kind": "Node", "apiVersion": "v1", "metadata": metadata, **_EMPTY_NODE}
    return msgspec.json.encode({"type": "BOOKMARK", "object": node}) + b"\n"
