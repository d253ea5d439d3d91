# SPDX-License-Identifier: Apache-2.0
"""Bytes of an API server into values: recorded ones, hostile ones, cut ones."""

import json
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwd.core.annotations import Keys
from fwd.core.lines import LineSplitter, TooLong
from fwd.core.nodewire import (
    Bookmark,
    Changed,
    Deleted,
    Failure,
    NodeDecoder,
    PageStart,
    TooDeepError,
    Unknown,
    Unusable,
    failure,
    node_of_pod,
    oversized_event,
    oversized_page,
)
from tests.unit.kube_support import decoder, node_object, recorded_lines, recording


def body(name: str) -> bytes:
    return json.dumps(recording(name)["response"]["body"]).encode()


def test_recorded_pages() -> None:
    first, second = decoder.page(body("nodes-list-page1")), decoder.page(body("nodes-list-page2"))
    names = [item.node.name for item in (*first.nodes, *second.nodes) if isinstance(item, Changed)]
    assert names == ["node-00001", "node-00002", "node-00003"]
    assert first.version == second.version == "223"
    assert first.token
    assert not second.token


def test_a_recorded_watch() -> None:
    events = [decoder.event(line) for line in recorded_lines("watch-events")]
    assert [type(event) for event in events] == [Changed, Changed, Changed, Deleted, Bookmark]
    first = events[0]
    assert isinstance(first, Changed)
    assert first.version == "228"
    assert first.node.pod_cidrs == ("10.244.2.0/24",)
    assert first.node.annotations.public_ip == "192.168.50.2"
    assert first.node.annotations.backend_data == '{"VNI":1,"VtepMAC":"12:c6:65:89:b4:e3"}'


def test_recorded_refusals() -> None:
    (gone,) = [decoder.event(line) for line in recorded_lines("watch-expired")]
    assert gone == Failure(410, "Expired", "too old resource version: 1 (241)")
    said = failure(body("secrets-forbidden"))
    assert said.code == 403
    assert 'cannot list resource "secrets"' in said.message
    assert failure(b"<html>") == Failure()
    assert failure(b'{"code":"x"}') == Failure()


def test_another_prefix_reads_other_keys() -> None:
    one = node_object(3, annotations={"a.b/c-public-ip": "1.2.3.4", "a.b/public-ip": "9.9.9.9"})
    found = NodeDecoder(Keys("a.b/c")).node(json.dumps(one).encode())
    assert isinstance(found, Changed)
    assert found.node.annotations.public_ip == "1.2.3.4"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("metadata", "annotations"), []),
        (("metadata", "annotations"), {"flannel.alpha.coreos.com/public-ip": 7}),
        (("spec", "podCIDRs"), "10.244.2.0/24"),
        (("spec", "podCIDR"), 3),
        (("spec",), []),
        (("metadata", "creationTimestamp"), 5),
    ],
)
def test_an_object_of_the_wrong_shape_is_named_and_the_others_go_on(
    path: tuple[str, ...], value: object
) -> None:
    bad: dict[str, Any] = node_object(2, version=8)
    place = bad
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    items = [node_object(1), bad, node_object(3)]
    page = decoder.page(json.dumps({"metadata": {"resourceVersion": "9"}, "items": items}).encode())
    assert [type(item) for item in page.nodes] == [Changed, Unusable, Changed]
    unusable = page.nodes[1]
    assert isinstance(unusable, Unusable)
    assert (unusable.name, unusable.version) == ("n2", "8")
    event = decoder.event(json.dumps({"type": "MODIFIED", "object": bad}).encode())
    assert event == unusable


def test_what_is_absent_or_null_is_empty() -> None:
    for wire in (
        {"metadata": {"name": "x"}},
        {"metadata": {"name": "x", "annotations": None}, "spec": None},
        {"metadata": {"name": "x", "creationTimestamp": None}, "spec": {"podCIDRs": None}},
    ):
        found = decoder.node(json.dumps(wire).encode())
        assert isinstance(found, Changed)
        assert (found.node.name, found.node.pod_cidrs, found.version) == ("x", (), "")
    nameless = decoder.node(b'{"metadata":{}}')
    assert nameless == Unusable("", "the object has no name")


@pytest.mark.parametrize(
    "line", [b"x", b"{}", b"[]", b'{"type":"ADDED"}', b'{"type":"FUTURE","object":{}}', b"\xff"]
)
def test_a_line_that_is_no_event_is_unknown(line: bytes) -> None:
    assert isinstance(decoder.event(line), Unknown)


@given(st.binary(max_size=200))
def test_no_line_raises(line: bytes) -> None:
    decoder.event(line)
    decoder.event(b'{"type":"ADDED","object":' + line + b"}")


@given(st.binary(max_size=100))
def test_a_page_is_one_or_a_value_error(text: bytes) -> None:
    with suppress(ValueError):
        decoder.page(text)


def test_the_node_of_a_pod() -> None:
    assert node_of_pod(b'{"spec":{"nodeName":"n7","containers":[]}}') == "n7"
    assert node_of_pod(b'{"spec":{}}') == ""
    with pytest.raises(ValueError, match="nodeName"):
        node_of_pod(b'{"spec":{"nodeName":7}}')


def test_the_start_of_an_object_too_long_tells_whose_it_is() -> None:
    wire = msgspec.json.encode({"type": "MODIFIED", "object": node_object(4, version=77)})
    assert oversized_event(wire[:300]) == Unusable("n4", "the object is too long to be read", "77")
    gone = wire.replace(b"MODIFIED", b"DELETED")
    assert oversized_event(gone[:300]) == Deleted("n4", "77")
    assert isinstance(oversized_event(b'{"type":"ADDED","object":{"x'), Unknown)


DEEP = b"[" * 100_000 + b"]" * 100_000


@pytest.mark.parametrize(
    "part", [DEEP, b'"\xff"', b'{"labels":7}'], ids=["deep", "not UTF-8", "odd"]
)
def test_a_node_that_cannot_be_decoded_is_named_all_the_same(part: bytes) -> None:
    meta = b'{"metadata":{"name":"n4","resourceVersion":"77","managedFields":%s}}' % part
    broken = meta.replace(b'"managedFields"', b'"creationTimestamp"') if part != DEEP else meta
    for text, found in (
        (broken, decoder.node(broken)),
        (broken, decoder.event(b'{"type":"MODIFIED","object":%s}' % broken)),
    ):
        assert isinstance(found, Unusable), text[:100]
        assert (found.name, found.version) == ("n4", "77")
    assert decoder.event(b'{"type":"DELETED","object":%s}' % broken) == Deleted("n4", "77")


def test_a_page_with_a_node_too_deep_says_so() -> None:
    with pytest.raises(TooDeepError):
        decoder.page(b'{"metadata":{"resourceVersion":"9"},"items":[{"x":%s}]}' % DEEP)


def test_the_start_of_a_page_too_long_tells_where_to_go_on() -> None:
    whole = {"metadata": {"resourceVersion": "9", "continue": "abc="}, "items": [node_object(4)]}
    assert oversized_page(msgspec.json.encode(whole)[:200]) == PageStart("n4", "9", "abc=")
    del whole["metadata"]["continue"]  # type: ignore[attr-defined]
    assert oversized_page(msgspec.json.encode(whole)[:200]) == PageStart("n4", "9", "")
    assert oversized_page(b"<html>") is None


LINES = st.lists(st.binary(max_size=12).map(lambda text: text.replace(b"\n", b"")), max_size=8)


@given(LINES, st.data())
def test_lines_are_the_same_wherever_the_stream_is_cut(lines: list[bytes], data: Any) -> None:  # noqa: ANN401
    """Slow twin: split the whole at once."""
    stream = b"\n".join(lines) + data.draw(st.sampled_from([b"", b"\n"]))
    *complete, rest = stream.split(b"\n")
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)))))
    splitter = LineSplitter(limit=8)
    got: list[bytes | TooLong] = []
    for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        got += splitter.feed(stream[begin:end])
    expected = [line for line in complete if line]
    assert len(got) == len(expected)
    for line, whole in zip(got, expected, strict=True):
        if len(whole) > 8:
            assert isinstance(line, TooLong)
            assert whole.startswith(line.start)
        else:
            assert line == whole
    assert splitter.partial == bool(rest)


def test_a_line_of_ten_megabytes_is_never_held() -> None:
    splitter = LineSplitter()
    wire = msgspec.json.encode({"type": "ADDED", "object": node_object(5)})
    got = list(splitter.feed(wire[:200]))
    for _ in range(160):
        got += splitter.feed(b"x" * 65536)
        assert len(splitter._tail) <= 4 << 20
    got += splitter.feed(b"\n" + wire + b"\n")
    assert isinstance(got[0], TooLong)
    assert isinstance(oversized_event(got[0].start), Unusable)
    assert got[1:] == [wire]
