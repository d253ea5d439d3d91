# SPDX-License-Identifier: Apache-2.0
"""Objects of one kind with their resourceVersions and their past.  Pure: no clock, no asyncio.

Theory of operation.  Every change takes the next revision, as in etcd.  An object is serialised
once, when it changes, as the line of the watch event; these bytes are all that is kept of it, and
every watch, list and GET is cut from them.  ``history`` is the list of changes, oldest first;
because each change knows what it replaced, any state back to the oldest one can be had by undoing.

Two ends of the past are told apart, as in a real server.  ``compacted`` is etcd's: below it no
state can be had.  ``floor`` is the watch cache's: below it no watch can begin.  A restart moves
only the latter, which is why a continue token survives one and a watch does not.
"""

import bisect
import enum
import uuid
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Final

import msgspec
from msgspec import Struct

from fwd.lab.apiserver.answers import Object

_NAMESPACE: Final = uuid.UUID("6ba7b812-9dad-11d1-80b4-00c04fd430c8")
_STATES_KEPT: Final = 4  # as many lists can be read in pages at a time without undoing again


class Kind(enum.Enum):
    """What a watch event says."""

    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"


class ExpiredError(Exception):
    """That far back there is nothing any more."""


class FutureError(Exception):
    """There is no such revision yet."""


class Version(Struct, frozen=True):
    """An object as it was from one revision on.

    Attributes:
        line: the watch event that told of it, with its line feed.
        start: where in ``line`` the object begins.
    """

    name: str
    revision: int
    line: bytes
    start: int

    @property
    def raw(self) -> bytes:
        """The object's JSON."""
        return self.line[self.start : -2]

    @property
    def added(self) -> bytes:
        """The object as an ADDED event."""
        return _opening(Kind.ADDED) + self.line[self.start :]

    def decode(self) -> Object:
        """The object; the caller's own."""
        decoded: Object = msgspec.json.decode(self.raw)
        return decoded


class Change(Struct, frozen=True):
    """An entry of the history; ``now`` of a deletion is the object as it last was."""

    kind: Kind
    now: Version
    before: Version | None

    @property
    def revision(self) -> int:
        """The revision that it made."""
        return self.now.revision


class Saved(Struct, frozen=True):
    """A whole state, to come back to."""

    revision: int
    objects: dict[str, Version]


class Store:
    """The objects, by name.

    Attributes:
        revision: of the last change, here or elsewhere in the cluster.
        floor: a watch may begin at this revision or later.
    """

    def __init__(self, *, history: int = 8192, revision: int = 1) -> None:
        self.revision = revision
        self.floor = revision
        self._compacted = revision
        self._limit = history
        self._history: list[Change] = []
        self._objects: dict[str, Version] = {}
        self._states: dict[int, tuple[Version, ...]] = {}
        self._listeners: list[Callable[[], None]] = []

    def __len__(self) -> int:
        return len(self._objects)

    def get(self, name: str) -> Version | None:
        """The object as it is."""
        return self._objects.get(name)

    def names(self) -> list[str]:
        """All names, in the order in which a list has them."""
        return sorted(self._objects)

    def put(self, item: Object) -> Version:
        """Add or replace an object; always a change."""
        metadata = item["metadata"]
        name: str = metadata["name"]
        before = self._objects.get(name)
        self.revision += 1
        identity = {"name": name, "uid": str(uuid.uuid5(_NAMESPACE, f"{name}/{self.revision}"))}
        whole = {
            "kind": "Node",
            "apiVersion": "v1",
            **item,
            "metadata": {**identity, **metadata, "resourceVersion": str(self.revision)},
        }
        kind = Kind.ADDED if before is None else Kind.MODIFIED
        now = _version(kind, whole, revision=self.revision)
        self._objects[name] = now
        self._record(Change(kind, now, before))
        return now

    def load(self, items: Iterable[Object], *, revision: int = 0) -> None:
        """Add objects that were there before, with their resourceVersions if they have any.

        Args:
            items: the objects.
            revision: of the list that they are from; raises ``self.revision``, never lowers it.
        """
        for item in items:
            text = item["metadata"].get("resourceVersion")
            if text is None:
                self.put(item)
                continue
            whole = {"kind": "Node", "apiVersion": "v1", **item}
            now = _version(Kind.ADDED, whole, revision=int(text))
            self._objects[now.name] = now
            self.revision = max(self.revision, now.revision)
        self.revision = max(self.revision, revision)
        self.compact()

    def delete(self, name: str) -> Version | None:
        """Remove an object; None when there is none."""
        before = self._objects.pop(name, None)
        if before is None:
            return None
        self.revision += 1
        whole = before.decode()
        whole["metadata"]["resourceVersion"] = str(self.revision)
        now = _version(Kind.DELETED, whole, revision=self.revision)
        self._record(Change(Kind.DELETED, now, before))
        return now

    def advance(self, by: int = 1) -> None:
        """Let the revision rise, as changes of other objects of the cluster do."""
        self.revision += by

    def since(self, revision: int) -> Sequence[Change]:
        """What changed after a revision, oldest first.

        Raises:
            ExpiredError: not all of that is known any more.
        """
        if revision < self.floor:
            raise ExpiredError
        return self._after(revision)

    def state(self, revision: int | None = None) -> Sequence[Version]:
        """All objects by name, as they are or as they were at a revision.

        Raises:
            ExpiredError: that was compacted.
            FutureError: that is not reached yet.
        """
        at = self.revision if revision is None else revision
        if at > self.revision:
            raise FutureError
        if at < self._compacted:
            raise ExpiredError
        if at not in self._states:
            objects = dict(self._objects)
            for change in reversed(self._after(at)):
                if change.before is None:
                    del objects[change.now.name]
                else:
                    objects[change.now.name] = change.before
            while len(self._states) >= _STATES_KEPT:
                del self._states[next(iter(self._states))]
            self._states[at] = tuple(sorted(objects.values(), key=attrgetter("name")))
        return self._states[at]

    def restart(self) -> None:
        """Forget what the watch cache knew, as a server does that starts again."""
        self.floor = self.revision

    def compact(self) -> None:
        """Forget the past."""
        self._history.clear()
        self._states.clear()
        self.floor = self._compacted = self.revision

    def save(self) -> Saved:
        """The state, for ``restore``; cheap."""
        return Saved(self.revision, dict(self._objects))

    def restore(self, saved: Saved) -> None:
        """Come back to a state, its revision included: what a restored backup of etcd does."""
        self.revision, self._objects = saved.revision, dict(saved.objects)
        self.compact()

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Have a function called after each change."""
        self._listeners.append(listener)

    def _record(self, change: Change) -> None:
        self._history.append(change)
        excess = len(self._history) - self._limit
        if excess > self._limit // 4:  # not one by one: it moves all the rest
            self._compacted = self._history[excess - 1].revision
            self.floor = max(self.floor, self._compacted)  # a restart may have forgotten more
            del self._history[:excess]
            for old in [at for at in self._states if at < self._compacted]:
                del self._states[old]
        for listener in self._listeners:
            listener()

    def _after(self, revision: int) -> Sequence[Change]:
        first = bisect.bisect_right(self._history, revision, key=attrgetter("revision"))
        return self._history[first:]


def _opening(kind: Kind) -> bytes:
    return b'{"type":"%s","object":' % kind.value.encode()


def _version(kind: Kind, whole: Object, *, revision: int) -> Version:
    opening = _opening(kind)
    line = opening + msgspec.json.encode(whole) + b"}\n"
    return Version(whole["metadata"]["name"], revision, line, len(opening))
