# SPDX-License-Identifier: Apache-2.0
"""The stand-in's objects and their past, lists, watches.  Only what no recording shows."""

import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwd.lab.apiserver import listing
from fwd.lab.apiserver.answers import Object, Refusal
from fwd.lab.apiserver.store import ExpiredError, FutureError, Store
from fwd.lab.apiserver.watching import Timing, Watch

NAMES = st.sampled_from(["a", "b", "c", "d"])
STEPS = st.lists(st.tuples(st.sampled_from(["put", "delete", "advance"]), NAMES), max_size=40)


def node(name: str, **spec: object) -> Object:
    return {"metadata": {"name": name}, "spec": spec}


def filled(*names: str, history: int = 8192) -> Store:
    store = Store(history=history)
    for name in names:
        store.put(node(name))
    return store


def page(store: Store, **query: str) -> tuple[Object, list[str]]:
    body = msgspec.json.decode(b"".join(listing.answer(store, query).pieces()))
    return body["metadata"], [item["metadata"]["name"] for item in body["items"]]


def events(watch: Watch, now: float = 0.0) -> list[tuple[str, str]]:
    lines = b"".join(watch.take(now)).splitlines()
    found = [msgspec.json.decode(line) for line in lines]
    return [(it["type"], it["object"]["metadata"].get("name", "")) for it in found]


def step(store: Store, what: str, name: str, number: int) -> None:
    if what == "put":
        store.put(node(name, number=number))
    elif what == "delete":
        store.delete(name)
    else:
        store.advance()


def watch(store: Store, now: float = 0.0, **query: str) -> Watch:
    return Watch(store, query, now=now, timing=Timing())


@given(STEPS)
def test_every_state_of_the_past_is_as_it_was(steps: list[tuple[str, str]]) -> None:
    store = Store()
    then = {store.revision: [version.raw for version in store.state()]}
    for number, (what, name) in enumerate(steps):
        step(store, what, name, number)
        then[store.revision] = [version.raw for version in store.state()]
    for revision, objects in then.items():
        assert [version.raw for version in store.state(revision)] == objects


@given(STEPS, st.integers(min_value=0, max_value=40))
def test_a_watch_leads_from_a_list_to_the_present(steps: list[tuple[str, str]], cut: int) -> None:
    store = Store()
    known: dict[str, Object] = {}
    following = None
    for number, (what, name) in enumerate([*steps, ("advance", "a")]):
        if number == min(cut, len(steps)):
            known = {version.name: version.decode() for version in store.state()}
            following = watch(store, resourceVersion=str(store.revision))
        step(store, what, name, number)
    assert following is not None
    for line in b"".join(following.take(0.0)).splitlines():
        event = msgspec.json.decode(line)
        name = event["object"]["metadata"]["name"]
        assert event["type"] == (
            "DELETED" if event["type"] == "DELETED" else "MODIFIED" if name in known else "ADDED"
        )
        known[name] = event["object"]
        if event["type"] == "DELETED":
            del known[name]
    assert known == {version.name: version.decode() for version in store.state()}


def test_a_history_that_is_full_forgets_its_oldest() -> None:
    store = filled("a", history=8)
    begin = store.revision
    for number in itertools.count():
        store.put(node("a", number=number))
        if store.floor > begin:
            break
        assert number < 20
    with pytest.raises(ExpiredError):
        store.since(begin)
    with pytest.raises(ExpiredError):
        store.state(begin)
    assert [change.revision for change in store.since(store.floor)] == list(
        range(store.floor + 1, store.revision + 1)
    )


def test_a_restart_ends_the_past_of_watches_but_not_of_lists() -> None:
    store = filled("a", "b", "c")
    metadata, first = page(store, limit="2")
    store.delete("c")
    store.restart()
    with pytest.raises(ExpiredError):
        store.since(store.revision - 1)
    assert first + page(store, **{"continue": metadata["continue"]})[1] == ["a", "b", "c"]


def test_what_a_restart_forgot_stays_forgotten_when_the_history_is_full() -> None:
    store = filled(*"abcdefghi", history=8)
    oldest, token = store.revision - 8, page(store, limit="8")[0]["continue"]
    restarted = store.revision
    store.restart()
    for number in itertools.count():
        store.put(node("a", number=number))
        try:
            store.state(oldest)
        except ExpiredError:
            break
        assert number < 20
    assert store.floor == restarted
    with pytest.raises(ExpiredError):
        store.since(restarted - 1)
    assert len(store.since(restarted)) == store.revision - restarted
    assert page(store, **{"continue": token})[1] == ["i"]  # of a state that is not compacted


def test_a_restored_state_has_its_old_revision() -> None:
    store = filled("a")
    saved = store.save()
    store.put(node("b"))
    ahead = store.revision
    store.restore(saved)
    assert (store.names(), store.revision) == (["a"], saved.revision)
    assert events(watch(store, resourceVersion=str(ahead))) == []
    with pytest.raises(FutureError):
        store.state(ahead)


def test_pages_show_one_moment() -> None:
    store = filled("a", "b", "c", "d", "e")
    metadata, names = page(store, limit="2")
    assert metadata["remainingItemCount"] == 3
    store.delete("d")
    store.put(node("bb"))
    while token := metadata.get("continue"):
        metadata, more = page(store, limit="2", **{"continue": token})
        names += more
    assert names == ["a", "b", "c", "d", "e"]


def test_a_token_that_was_compacted_is_410_with_one_to_go_on() -> None:
    store = filled("a", "b", "c")
    token = page(store, limit="1")[0]["continue"]
    store.put(node("bb"))
    store.compact()
    with pytest.raises(Refusal) as refused:
        page(store, limit="1", **{"continue": token})
    assert refused.value.code == 410
    onward = refused.value.status["metadata"]["continue"]
    assert page(store, **{"continue": onward})[1] == ["b", "bb", "c"]


def test_a_list_at_an_exact_revision() -> None:
    store = filled("a", "b")
    then = str(store.revision)
    store.delete("a")
    assert page(store, resourceVersion=then, resourceVersionMatch="Exact")[1] == ["a", "b"]
    assert page(store, resourceVersion=then)[1] == ["b"]
    store.compact()
    with pytest.raises(Refusal) as refused:
        page(store, resourceVersion=then, resourceVersionMatch="Exact")
    assert refused.value.code == 410


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"resourceVersion": "99"}, 504),
        ({"resourceVersion": "x"}, 400),
        ({"limit": "-1"}, 400),
        ({"labelSelector": "a=b"}, 400),
        ({"fieldSelector": "spec.podCIDR=x"}, 400),
        ({"resourceVersionMatch": "Exact"}, 422),
        ({"continue": "!"}, 400),
    ],
)
def test_a_list_that_cannot_be(query: dict[str, str], code: int) -> None:
    with pytest.raises(Refusal) as refused:
        page(filled("a"), **query)
    assert refused.value.code == code


def test_bookmarks_come_once_a_minute_and_before_the_end() -> None:
    store = filled("a")
    watching = watch(
        store,
        resourceVersion=str(store.revision),
        allowWatchBookmarks="true",
        timeoutSeconds="150",
    )
    told = []
    now = 0.0
    while not watching.over:
        now = watching.due
        store.advance()
        told += [(now, kind) for kind, _ in events(watching, now)]
    assert told == [(60.0, "BOOKMARK"), (120.0, "BOOKMARK"), (148.0, "BOOKMARK")]
    assert now == 150.0


def test_no_bookmark_unasked_or_from_behind() -> None:
    store = filled("a")
    unasked = watch(store, resourceVersion=str(store.revision), timeoutSeconds="300")
    ahead = watch(store, resourceVersion="99", allowWatchBookmarks="true", timeoutSeconds="300")
    assert unasked.due == 300.0
    assert events(ahead, ahead.due) == []


def test_a_change_between_two_pieces_is_not_lost() -> None:
    store = Store()
    for number in range(3):
        store.put(node(f"n{number}", pad="x" * 300_000))
    following = watch(store, resourceVersion="0", allowWatchBookmarks="true")
    pieces = following.take(60.0)
    next(pieces)
    store.put(node("late"))
    assert b'"late"' in b"".join(pieces) + b"".join(following.take(60.0))


def test_a_watch_that_falls_behind_the_history_is_410() -> None:
    store = filled("a", history=4)
    following = watch(store, resourceVersion=str(store.revision))
    for number in range(20):
        store.put(node("a", number=number))
    assert events(following) == [("ERROR", "")]
    assert following.over


@pytest.mark.parametrize("end", [False, True])
def test_an_injected_line_keeps_its_place(*, end: bool) -> None:
    store = filled()
    following = watch(store, resourceVersion=str(store.revision))
    store.put(node("before"))
    following.inject(b'{"type":"ERROR","object":{"metadata":{}}}\n', end=end)
    store.put(node("after"))
    later = [] if end else [("ADDED", "after")]
    assert events(following) == [("ADDED", "before"), ("ERROR", ""), *later]
    assert following.over == end


def test_initial_events_need_their_match() -> None:
    with pytest.raises(Refusal, match="NotOlderThan"):
        watch(filled("a"), sendInitialEvents="true")


@pytest.mark.parametrize("seconds", ["long", "-1", "1.5"])
def test_a_time_limit_that_is_no_number_is_refused(seconds: str) -> None:
    with pytest.raises(Refusal, match="timeoutSeconds: Invalid value"):
        Watch(Store(), {"timeoutSeconds": seconds}, now=0.0, timing=Timing())
