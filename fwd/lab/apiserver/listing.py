# SPDX-License-Identifier: Apache-2.0
"""Lists of Nodes: pages, continue tokens, and what resourceVersion means for them.  Pure.

From the recordings, and where these are silent from Kubernetes' "API concepts", "Semantics for get
and list".
"""

import base64
import binascii
import bisect
from collections.abc import Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any, Final

import msgspec
from msgspec import Struct

from fwd.lab.apiserver import answers
from fwd.lab.apiserver.answers import bad_request
from fwd.lab.apiserver.query import number, selected_name
from fwd.lab.apiserver.store import ExpiredError, FutureError, Store, Version

_PIECE: Final = 1 << 18
_HEADER: Final = len(b'"kind":"Node","apiVersion":"v1",')  # items of a list do without


class Page(Struct, frozen=True):
    """The answer to a list."""

    revision: int
    items: Sequence[Version]
    token: str = ""
    remaining: int | None = None

    def pieces(self) -> Iterator[bytes]:
        """The body, in pieces of some hundred kilobytes."""
        metadata: dict[str, Any] = {"resourceVersion": str(self.revision)}
        if self.token:
            metadata["continue"] = self.token
        if self.remaining is not None:
            metadata["remainingItemCount"] = self.remaining
        head = {"kind": "NodeList", "apiVersion": "v1", "metadata": metadata}
        piece = [msgspec.json.encode(head)[:-1], b',"items":[']
        size = 0
        for place, item in enumerate(self.items):
            piece += [b",{" if place else b"{", item.line[item.start + 1 + _HEADER : -2]]
            size += len(item.line)
            if size > _PIECE:
                yield b"".join(piece)
                piece, size = [], 0
        yield b"".join([*piece, b"]}\n"])


class _Token(Struct, frozen=True):
    v: str
    rv: int
    start: str


def answer(store: Store, query: Mapping[str, str]) -> Page:
    """The page that a query asks for.

    Raises:
        Refusal: 400 parameters that make no sense, 410 too far back, 504 from the future.
    """
    if "labelSelector" in query:
        raise bad_request("the stand-in has no labelSelector")
    name = selected_name(query)
    limit = number(query, "limit")
    token = query.get("continue", "")
    revision = query.get("resourceVersion", "")
    match = query.get("resourceVersionMatch", "")
    if match not in ("", "Exact", "NotOlderThan") or (match and not revision):
        raise answers.invalid(f'resourceVersionMatch: Invalid value: "{match}"')
    if token:
        if revision not in ("", "0"):
            raise bad_request("specifying resource version is not allowed when using continue")
        start, at = _decode(token)
    else:
        start, at = "", _at(store, revision, exact=match == "Exact" or (limit > 0 and not match))
    try:
        everything = store.state(at)
    except FutureError as error:
        raise answers.too_large(int(revision or at or 0), store.revision) from error
    except ExpiredError as error:
        raise answers.list_expired(_encode(-1, start) if token else None) from error
    items = everything[bisect.bisect_right(everything, start, key=attrgetter("name")) :]
    if name:
        items = [item for item in items if item.name == name]
    shown = store.revision if at is None else at
    # A list "at any" revision comes from the watch cache, which does not page (recorded).
    if not limit or limit >= len(items) or (revision == "0" and not token):
        return Page(shown, items)
    remaining = None if name else len(items) - limit
    page = items[:limit]
    return Page(shown, page, token=_encode(shown, page[-1].name), remaining=remaining)


def _at(store: Store, revision: str, *, exact: bool) -> int | None:
    """The revision to show; None for the newest."""
    at = number({"resourceVersion": revision}, "resourceVersion")
    if at > store.revision or (exact and at):
        return at
    return None


def _encode(revision: int, last: str) -> str:
    data = msgspec.json.encode(_Token("meta.k8s.io/v1", revision, f"/{last}\0"))
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _decode(token: str) -> tuple[str, int | None]:
    """The name after which to go on, and the revision; None for the newest."""
    try:
        data = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        found = msgspec.convert(answers.decode(data), _Token)
    except (binascii.Error, ValueError) as error:  # msgspec's too
        raise bad_request(f"invalid continue token: continue key is not valid: {error}") from error
    return found.start.strip("/\0"), None if found.rv < 0 else found.rv
