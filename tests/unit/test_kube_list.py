# SPDX-License-Identifier: Apache-2.0
"""A list of many pages: what becomes of it when one fails, and of what is heard meanwhile.

Excluded: what a page means, and those that are too long (test_kube_watch.py).
"""

import asyncio
import random
from collections.abc import Callable
from typing import NoReturn, cast

import msgspec
import pytest
from msgspec.structs import replace

from fwd.core.nodetable import NodeTable
from fwd.lab.apiserver.faults import Answer, Cut, How
from fwd.model import FwdError
from fwd.sources.contact import Contact, ServerError, Side
from fwd.sources.kubeapi import KubeApi, Oversized, Refused, Unreachable
from fwd.sources.kubecredentials import NoCredentials
from fwd.sources.kubewatch import NodeWatch, Pace
from tests.unit.kube_member import BOTH, EACH, Families, agrees, event, member, nodes, settle
from tests.unit.kube_server import serving
from tests.unit.kube_support import changed, decoder, node_in, node_object

PAGES = 263
"""Of 65,536 nodes, the most that a Pods' network of /8 has room for in /24."""
NO_ANSWER = Unreachable("broken off")


class Paged:
    """An API server of `pages` Nodes, one a page, whose requests fail as they are told to."""

    def __init__(self, pages: int = 4, *, fails: Callable[[int], Exception | None]) -> None:
        """`fails` is given the number of a page."""
        self._pages = pages
        self._fails = fails
        self.asked: list[int] = []
        """Numbers of pages, from 1 on."""

    async def page(self, *, limit: int, token: str = "") -> bytearray:
        assert limit
        number = int(token or "1")
        self.asked.append(number)
        if (error := self._fails(number)) is not None:
            raise error
        meta = {"resourceVersion": "100"}
        if number < self._pages:
            meta["continue"] = str(number + 1)
        items = [node_object(number, version=50)]
        return bytearray(msgspec.json.encode({"metadata": meta, "items": items}))

    def watch(self, version: str, *, seconds: int) -> NoReturn:
        raise Refused(f"no watch from {version} for {seconds} s", code=403)


class Listing:
    """A NodeWatch of that server, of which only the list is of interest."""

    def __init__(self, api: Paged) -> None:
        self.api = api
        self.table = NodeTable(families=[4], vni=1)
        self._watch = NodeWatch(
            cast("KubeApi", api),
            decoder,
            self.table,
            pace=Pace(),
            heard=lambda: None,
            changed=lambda: None,
        )

    async def round(self) -> str:
        """What it ended by."""
        with pytest.raises(FwdError) as caught:
            await self._watch.round()
        return str(caught.value)

    async def list(self) -> None:
        """A round as far as the list goes."""
        try:
            await self._watch.round()
        except FwdError:
            if not self.is_listed:
                raise

    @property
    def is_listed(self) -> bool:
        return self._watch.listed


def once(page: int, *errors: Exception) -> Callable[[int], Exception | None]:
    """That page fails by these, one after the other."""
    left = list(errors)
    return lambda number: left.pop(0) if number == page and left else None


@pytest.mark.parametrize(
    "error",
    [
        *(Refused("refused", code=code) for code in (429, 500, 503, 504)),
        *(NO_ANSWER, NoCredentials("no plugin")),
    ],
    ids=repr,
)
async def test_a_page_that_fails_is_asked_for_again(error: ServerError) -> None:
    made = Listing(Paged(fails=once(3, error, error)))
    assert [await made.round() for _ in range(2)] == [str(error)] * 2
    await made.round()
    assert made.is_listed
    assert made.api.asked == [1, 2, 3, 3, 3, 4]
    assert len(made.table) == 4


@pytest.mark.parametrize("code", [400, 401, 403, 410])
async def test_a_page_that_never_comes_begins_the_list_anew(code: int) -> None:
    """410: the token is too old.  The others: it is of no use, or we are."""
    made = Listing(Paged(fails=once(3, Refused("refused", code=code))))
    await made.round()
    await made.round()
    assert made.is_listed
    assert made.api.asked == [1, 2, 3, 1, 2, 3, 4]


async def test_after_five_failures_of_one_page_the_list_begins_anew() -> None:
    made = Listing(Paged(fails=once(3, *[NO_ANSWER] * 5)))
    for _ in range(6):
        await made.round()
    assert made.is_listed
    assert made.api.asked == [1, 2, *[3] * 5, 1, 2, 3, 4]


async def test_a_large_clusters_list_ends_though_the_server_refuses_one_request_in_twenty() -> None:
    dice = random.Random(2)
    busy = Refused("busy", code=429)
    made = Listing(Paged(PAGES, fails=lambda _: busy if dice.random() < 0.05 else None))
    while not made.is_listed and len(made.api.asked) < PAGES * 1.2:
        await made.round()
    assert len(made.table) == PAGES


async def test_each_page_of_a_list_that_fails_is_waited_for_as_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else one such list would take half a minute."""
    waits: list[float] = []
    made = Listing(
        Paged(fails=lambda number: NO_ANSWER if made.api.asked.count(number) < 3 else None)
    )

    async def note(seconds: float, _: Side) -> None:
        waits.append(seconds)

    contact = Contact("api-server", server=lambda: "")
    monkeypatch.setattr(contact, "_pause", note)
    monkeypatch.setattr("random.random", lambda: 0.0)
    await contact.retrying(made.list)
    assert waits == [0.2, 0.4] * 4


@pytest.mark.parametrize("effect", [Answer(503), Answer(429, retry_after=1), Cut(0, How.RESET)])
async def test_from_a_server_that_refuses_a_page_comes_the_truth(
    effect: Answer | Cut, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(*nodes(BOTH)) as server:
        server.fault(effect, verb="list", skip=2)
        async with member(server, families=BOTH, pace=Pace(page=1)) as ours:
            assert agrees(ours, server)
        assert not server.faults_left
        assert server.count("list") == 4 + 1
    assert caplog.text.count("cannot list nodes") == isinstance(effect, Answer)


@pytest.mark.parametrize(
    ("fails_by", "address"),
    [
        ([], "192.168.9.9"),
        ([NO_ANSWER], "192.168.9.9"),
        ([Refused("too old", code=410)], "192.168.0.1"),
    ],
    ids=["well", "it goes on", "it begins anew"],
)
async def test_what_is_heard_during_a_list_counts_if_it_is_newer(
    fails_by: list[Exception], address: str
) -> None:
    """Of one that begins anew nothing does: it may be a restored backup's."""
    fails = once(3, *fails_by)

    def hears_and_fails(number: int) -> Exception | None:
        if made.api.asked == [1, 2]:
            assert made.table.apply(changed(1, version=105, public_ip="192.168.9.9"))
        return fails(number)

    made = Listing(Paged(fails=hears_and_fails))
    while not made.is_listed:
        await made.round()
    assert str(made.table.leases()[0].public_ip) == address
    assert len(made.table) == 4


@EACH
async def test_an_answer_to_our_patch_outlives_a_list_that_began_before_it(
    families: Families, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else we find missing what we have just published, and say that somebody took it away."""
    async with (
        serving(*nodes(families)) as server,
        member(server, families=families, pace=Pace(page=1)) as ours,
    ):
        page, goes_on = ours.source._api.page, asyncio.Event()

        async def hold(*, limit: int, token: str = "") -> bytearray | Oversized:
            if token:
                await goes_on.wait()
            return await page(limit=limit, token=token)

        monkeypatch.setattr(ours.source._api, "page", hold)
        await server.play(event("ERROR", {"code": 410}))
        await ours.until("a list", lambda: server.count("list") == 4 + 1)
        assert ours.last is not None
        own = [lease for lease in ours.last.leases if lease.node == "n1"]
        with caplog.at_level("INFO"):
            ours.source.announce(tuple(replace(one, vtep_mac=b"\x02\0\0\0\0\x99") for one in own))
            await ours.until("published", lambda: "lease-published" in caplog.text)
            assert server.count("list") == 4 + 1, "the list is not at its end"
            goes_on.set()
            await ours.until("a watch", lambda: server.watches)
            server.nodes.put(node_in(families, 3, public_ip="192.168.9.9"))
            await settle(ours, server)
        assert server.count("patch") == 1
        assert "annotations-repaired" not in caplog.text
