# SPDX-License-Identifier: Apache-2.0
"""Bytes of the API server into the few values of a Node that matter here.

A Node is about 10 kB, of which some 300 bytes are of use; msgspec passes over the rest without
making objects of it.  What cannot be decoded is refused Node by Node and named, so that one bad
object does not hide the others.  How a watch's bytes become lines is `core.lines`'s.
"""

import re
import sys
from typing import Any, TypeAlias

import msgspec
from msgspec import Struct
from msgspec.structs import astuple

from fwd.core.annotations import Annotations, Keys
from fwd.core.unreadable import UNREADABLE


class Node(Struct, frozen=True):
    """What a Node says that concerns its lease; two that are equal mean the same to us."""

    name: str
    created: str = ""
    """creationTimestamp, RFC 3339 in UTC: as text in order of time."""
    pod_cidrs: tuple[str, ...] = ()
    """spec.podCIDRs, or spec.podCIDR alone."""
    annotations: Annotations = Annotations()


class Changed(Struct, frozen=True):
    """ADDED or MODIFIED, or a Node of a list."""

    node: Node
    version: str


class Deleted(Struct, frozen=True):
    """A Node is gone since `version`."""

    name: str
    version: str


class Unusable(Struct, frozen=True):
    """A Node, ADDED or MODIFIED, that cannot be decoded.  Its name is empty if even that cannot."""

    name: str
    reason: str
    version: str = ""


class Bookmark(Struct, frozen=True):
    """All up to `version` was sent."""

    version: str


class Failure(Struct, frozen=True):
    """A Status: why the server does not do what it was asked to."""

    code: int = 0
    reason: str = ""
    message: str = ""


class Unknown(Struct, frozen=True):
    """A line that is no watch event, or one of a type from the future."""

    text: str


class TooDeepError(ValueError):
    """Something is nested so deeply that it cannot even be passed over."""


Event: TypeAlias = Changed | Deleted | Unusable | Bookmark | Failure | Unknown


class Page(Struct, frozen=True):
    """A part of a list, or all of it if `token` is empty."""

    nodes: tuple[Changed | Unusable, ...]
    version: str
    token: str = ""


class PageStart(Struct, frozen=True):
    """What a page's first bytes tell if the rest is too much: the list and its first Node."""

    name: str
    version: str
    token: str


class _ListMeta(Struct, frozen=True, rename="camel"):
    resource_version: str = ""
    continue_: str = msgspec.field(name="continue", default="")


class _List(Struct, frozen=True):
    metadata: _ListMeta
    items: list[msgspec.Raw] | None = None


class _Event(Struct, frozen=True):
    type: str
    object: msgspec.Raw


class _BareMeta(Struct, frozen=True, rename="camel"):
    name: str = ""
    resource_version: str = ""


class _Bare(Struct, frozen=True):
    metadata: _BareMeta = _BareMeta()


class _Spec(Struct, frozen=True):
    pod_cidr: str = msgspec.field(name="podCIDR", default="")
    pod_cidrs: tuple[str, ...] | None = msgspec.field(name="podCIDRs", default=None)


class _PodSpec(Struct, frozen=True, rename="camel"):
    node_name: str = ""


class _Pod(Struct, frozen=True):
    spec: _PodSpec = _PodSpec()


_list_decoder = msgspec.json.Decoder(_List)
_event_decoder = msgspec.json.Decoder(_Event)
_bare_decoder = msgspec.json.Decoder(_Bare)
_status_decoder = msgspec.json.Decoder(Failure)
_pod_decoder = msgspec.json.Decoder(_Pod)


class NodeDecoder:
    """Decodes for one annotation prefix: keys are field names to msgspec, so it skips all others.

    A slow decoder would make a dict of every annotation of every Node first.
    """

    def __init__(self, keys: Keys) -> None:
        self._decoder = msgspec.json.Decoder(_node_type(keys))

    def node(self, data: bytes | msgspec.Raw) -> Changed | Unusable:
        """One Node."""
        try:
            wire = self._decoder.decode(data)
        except UNREADABLE as error:
            bare = _bare(data)
            return Unusable(bare.name, str(error), bare.resource_version)
        meta, spec = wire.metadata, wire.spec or _NO_SPEC
        if not meta.name:
            return Unusable("", "the object has no name", meta.resource_version)
        cidrs = spec.pod_cidrs or ((spec.pod_cidr,) if spec.pod_cidr else ())
        values = astuple(meta.annotations) if meta.annotations is not None else ()
        annotations = Annotations(*map(sys.intern, values[:2]), *values[2:])
        node = Node(meta.name, meta.creation_timestamp or "", cidrs, annotations)
        return Changed(node, meta.resource_version)

    def page(self, body: bytes | bytearray) -> Page:
        """A NodeList.  ValueError if it is none; TooDeepError if it may be one all the same."""
        found = _decode(_list_decoder, body)
        nodes = tuple(self.node(item) for item in found.items or ())
        return Page(nodes, found.metadata.resource_version, found.metadata.continue_)

    def event(self, line: bytes) -> Event:
        """One line of a watch."""
        try:
            event = _event_decoder.decode(line)
        except UNREADABLE as error:
            return _by_its_start(line, str(error))
        match event.type:
            case "ADDED" | "MODIFIED":
                return self.node(event.object)
            case "DELETED":
                bare = _bare(event.object)
                return Deleted(bare.name, bare.resource_version)
            case "BOOKMARK":
                return Bookmark(_bare(event.object).resource_version)
            case "ERROR":
                return failure(event.object)
            case other:
                return Unknown(f"an event of type {other[:40]!r}")


def failure(body: bytes | msgspec.Raw) -> Failure:
    """A Status; an empty one if the body is something else, such as a proxy's page."""
    try:
        return _status_decoder.decode(body)
    except UNREADABLE:
        return Failure()


def node_of_pod(body: bytes) -> str:
    """spec.nodeName of a Pod; empty if it is not placed.  ValueError if this is no Pod."""
    return str(_decode(_pod_decoder, body).spec.node_name)


def oversized_event(start: bytes) -> Unusable | Deleted | Unknown:
    """An event of which only the first bytes were kept.

    kube-apiserver writes type before object, and name before annotations.
    """
    return _by_its_start(start, "the object is too long to be read")


def _by_its_start(start: bytes, reason: str) -> Unusable | Deleted | Unknown:
    bare = _named(start)
    if not bare.name:
        return Unknown(f"{reason}, and has no name")
    if start.startswith(b'{"type":"DELETED"'):
        return Deleted(bare.name, bare.resource_version)
    return Unusable(bare.name, reason, bare.resource_version)


def oversized_page(start: bytes) -> PageStart | None:
    """A page of which only the first bytes were kept; None if they do not tell where to go on."""
    head, items, rest = start.partition(b'"items":[')
    version, token, name = _VERSION.search(head), _TOKEN.search(head), _NAME.search(rest)
    if not items or version is None:
        return None
    return PageStart(
        name=name[1].decode() if name else "",
        version=version[1].decode(),
        token=token[1].decode() if token else "",
    )


# Names and tokens have no character that JSON escapes.
_NAME = re.compile(rb'"metadata":\{"name":"([a-z0-9.-]+)"')
_VERSION = re.compile(rb'"resourceVersion":"([0-9]+)"')
_TOKEN = re.compile(rb'"continue":"([A-Za-z0-9_=-]+)"')
_NO_SPEC = _Spec()


def _bare(data: bytes | msgspec.Raw) -> _BareMeta:
    try:
        return _bare_decoder.decode(data).metadata
    except UNREADABLE:
        return _named(bytes(data))


def _named(start: bytes) -> _BareMeta:
    """What can be told of an object that cannot be decoded, or not to its end."""
    name, version = _NAME.search(start), _VERSION.search(start)
    return _BareMeta(
        name=name[1].decode() if name else "",
        resource_version=version[1].decode() if version else "",
    )


def _decode(decoder: "msgspec.json.Decoder[Any]", body: bytes | bytearray) -> Any:  # noqa: ANN401
    try:
        return decoder.decode(body)
    except RecursionError as error:
        raise TooDeepError(str(error)) from error
    except UNREADABLE as error:
        raise ValueError(str(error)) from error


def _node_type(keys: Keys) -> Any:  # noqa: ANN401 - made for a prefix, unknown to a type checker
    annotations = msgspec.defstruct(
        "_Annotations", [(name, str, "") for name in keys.names], rename=keys.names, frozen=True
    )
    metadata = msgspec.defstruct(
        "_Metadata",
        [
            ("name", str, ""),
            ("resource_version", str, ""),
            ("creation_timestamp", str | None, None),
            ("annotations", annotations | None, None),
        ],
        rename="camel",
        frozen=True,
    )
    return msgspec.defstruct(
        "_Node", [("metadata", metadata), ("spec", _Spec | None, None)], frozen=True
    )
