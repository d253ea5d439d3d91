# SPDX-License-Identifier: Apache-2.0
"""From which version a NodeWatch goes on, and when it lists instead, after each end of a watch.

Excluded: a server that came back with an older state (test_kube_restored.py).
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import cast

import msgspec
import pytest

from fwd.core.nodetable import NodeTable
from fwd.sources.contact import Ending, ServerError
from fwd.sources.kubeapi import KubeApi, Refused, Silent, Unreachable
from fwd.sources.kubewatch import NodeWatch, Pace
from tests.unit.in_family import EACH_FAMILY, said
from tests.unit.kube_member import event
from tests.unit.kube_support import decoder, node_in

LIST, ASK = "list", "ask how far it is"
Watch = tuple[list[bytes], Exception | None]
"""What comes, and what ends it if it is no orderly end."""


class Scripted:
    """An API server whose lists are empty and of versions 100, 200, ...; its watches are given."""

    def __init__(self, *watches: Watch) -> None:
        self._watches = iter(watches)
        self._version = 0
        self.asked: list[str] = []

    async def page(self, *, limit: int, token: str = "") -> bytearray:
        assert not token
        self.asked.append(ASK if limit == 1 else LIST)
        self._version += 100
        return bytearray(b'{"metadata":{"resourceVersion":"%d"}}' % self._version)

    @asynccontextmanager
    async def watch(self, version: str, *, seconds: int) -> AsyncIterator[AsyncIterator[bytes]]:
        assert seconds
        self.asked.append(version)
        lines, error = next(self._watches)
        if error is not None and not lines:
            raise error
        yield _chunks(lines, error)


async def _chunks(lines: list[bytes], error: Exception | None) -> AsyncIterator[bytes]:
    yield b"".join(lines)
    if error is not None:
        raise error


class Watching:
    """A NodeWatch of that server, and what it did."""

    def __init__(self, *watches: Watch, family: int = 4) -> None:
        self.api = Scripted(*watches)
        self.table = NodeTable(families=[family], vni=1)
        self.changes: list[set[str]] = []
        """The addresses in the table whenever it has changed."""
        self.watch = NodeWatch(
            cast("KubeApi", self.api),
            decoder,
            self.table,
            pace=Pace(),
            heard=lambda: None,
            changed=lambda: self.changes.append(self.addresses),
        )

    @property
    def addresses(self) -> set[str]:
        return {str(lease.public_ip) for lease in self.table.leases()}

    async def round(self) -> Ending | str:
        """How it ended."""
        try:
            return await self.watch.round()
        except ServerError as error:
            return str(error)


def bookmark(version: str) -> bytes:
    whole = {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": version}}}
    return msgspec.json.encode(whole) + b"\n"


def refused(code: int) -> Watch:
    return [], Refused("refused", code=code)


def error_event(code: int) -> bytes:
    return msgspec.json.encode({"type": "ERROR", "object": {"code": code, "message": "no"}}) + b"\n"


@pytest.mark.parametrize("how", ["status", "event"])
@pytest.mark.parametrize(
    ("code", "lists"),
    [(400, True), (410, True), (504, True)] + [(code, False) for code in (401, 403, 429, 500, 503)],
)
async def test_a_version_that_is_of_no_use_leads_to_a_list(
    code: int, how: str, *, lists: bool
) -> None:
    """410: too old.  504: from the future.  400: no version."""
    ending = refused(code) if how == "status" else ([error_event(code)], None)
    made = Watching(([bookmark("150")], None), ending, ([], None))
    assert await made.round() is Ending.HEARD
    end = await made.round()
    if code == 410:
        assert end is Ending.QUIET, "ordinary, and not worth to be said"
    else:
        assert isinstance(end, str)
    await made.round()
    assert made.api.asked == [LIST, "100", "150", *([LIST, "200"] if lists else [ASK, "150"])]


async def test_after_a_watch_in_which_nothing_was_heard_comes_a_list() -> None:
    """Not even a bookmark: a server that is behind has nothing to send (recorded)."""
    nothing: Watch = [], None
    made = Watching(nothing, ([bookmark("300")], None), nothing, nothing)
    ends = [await made.round() for _ in range(4)]
    assert ends == [Ending.QUIET, Ending.HEARD, Ending.QUIET, Ending.QUIET]
    assert made.api.asked == [LIST, "100", LIST, "200", "300", LIST, "300"]


@pytest.mark.parametrize(
    ("error", "lists"), [(Silent("silent"), True), (Unreachable("broken off"), False)]
)
async def test_after_a_silence_comes_a_list_and_after_a_break_a_question(
    error: Exception, *, lists: bool
) -> None:
    made = Watching(([bookmark("150")], error), ([], None))
    assert await made.round() == str(error)
    await made.round()
    assert made.api.asked == [LIST, "100", *([LIST, "200"] if lists else [ASK, "150"])]


async def test_at_the_second_error_in_a_row_from_one_position_comes_a_list() -> None:
    """Some server, or a proxy, cannot go on from there, and says so in words of its own."""
    error = [error_event(500)], None
    told = [bookmark("150"), error_event(500)], None
    made = Watching(told, error, error, told, ([bookmark("400")], None))
    for _ in range(5):
        await made.round()
    assert made.api.asked == [LIST, "100", ASK, "150", LIST, "300", ASK, "300", LIST, "500"]


@EACH_FAMILY
@pytest.mark.parametrize("code", [410, 500])
async def test_what_came_before_an_error_counts(family: int, code: int) -> None:
    """Until there is a list, which may take its time: the server has trouble."""
    first, second = (said(family, f"192.168.9.{number}") for number in (2, 3))
    one, other = (
        event("ADDED", node_in((family,), number, version=110 + number, public_ip=address))
        for number, address in ((2, first), (3, second))
    )
    made = Watching(([one, other, error_event(code), one], None), ([], None), family=family)
    await made.round()
    assert made.changes == [set(), {first, second}]
    await made.round()
    assert made.api.asked == [LIST, "100", *([LIST, "200"] if code == 410 else [ASK, "113"])]


Line = Callable[[str], bytes]
LINES: list[Line] = [
    bookmark,
    *(
        lambda version, kind=kind: event(kind, node_in((4,), 2, version=version))
        for kind in ("ADDED", "MODIFIED", "DELETED")
    ),
    lambda version: event("MODIFIED", node_in((4,), 2, version=version, spec=7)),
]


@pytest.mark.parametrize(
    "line", LINES, ids=["bookmark", "added", "modified", "deleted", "unusable"]
)
@pytest.mark.parametrize(
    ("versions", "position"),
    [
        (["150"], "150"),
        (["150", "120"], "150"),
        (["150", "150", "149", "151"], "151"),
        (["99"], "100"),
        (["1000", "999"], "1000"),
        (["150", ""], "150"),
        (["150", "x"], "x"),
        (["x", "150"], "150"),
        (["150", "1" + 20 * "0"], "1" + 20 * "0"),
    ],
)
async def test_a_position_never_goes_back(line: Line, versions: list[str], position: str) -> None:
    """Where versions can be compared; else the last one is as good as any."""
    made = Watching(([line(one) for one in versions], None), ([], None))
    assert await made.round() is Ending.HEARD
    await made.round()
    assert made.api.asked == [LIST, "100", position]
