# SPDX-License-Identifier: Apache-2.0
"""The wire format, against google's own implementation and against bytes that are none."""

from contextlib import suppress
from typing import Annotated, Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from fwd.core import etcdrpc as rpc
from fwd.core.protobuf import Message, decode, encode


class _Inner(Message, frozen=True):
    count: Annotated[int, 1] = 0
    name: Annotated[str, 2] = ""


class _Outer(Message, frozen=True):
    data: Annotated[bytes, 1] = b""
    is_on: Annotated[bool, 3] = False
    inner: Annotated[_Inner | None, 4] = None
    many: Annotated[tuple[_Inner, ...], 11] = ()
    number: Annotated[int, 64] = 0


def _google() -> Any:  # noqa: ANN401 - a class that is made at run time
    """The same two messages, by google's library."""
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="t.proto", package="t", syntax="proto3")
    inner = file.message_type.add(name="Inner")
    inner.field.add(name="count", number=1, type=kinds.TYPE_INT64, label=1)
    inner.field.add(name="name", number=2, type=kinds.TYPE_STRING, label=1)
    outer = file.message_type.add(name="Outer")
    outer.field.add(name="data", number=1, type=kinds.TYPE_BYTES, label=1)
    outer.field.add(name="is_on", number=3, type=kinds.TYPE_BOOL, label=1)
    outer.field.add(name="inner", number=4, type=kinds.TYPE_MESSAGE, label=1, type_name=".t.Inner")
    outer.field.add(name="many", number=11, type=kinds.TYPE_MESSAGE, label=3, type_name=".t.Inner")
    outer.field.add(name="number", number=64, type=kinds.TYPE_INT64, label=1)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("t.Outer"))


_GOOGLE = _google()
_int64 = st.integers(-(2**63), 2**63 - 1)
_inner = st.builds(_Inner, _int64, st.text(max_size=5))
_outer = st.builds(
    _Outer,
    data=st.binary(max_size=300),
    is_on=st.booleans(),
    inner=st.none() | _inner,
    many=st.lists(_inner, max_size=3).map(tuple),
    number=_int64,
)


@given(_outer)
def test_bytes_are_those_of_googles_library(message: _Outer) -> None:
    twin = _GOOGLE(data=message.data, is_on=message.is_on, number=message.number)
    if message.inner is not None:
        twin.inner.SetInParent()
        twin.inner.count, twin.inner.name = message.inner.count, message.inner.name
    for one in message.many:
        twin.many.add(count=one.count, name=one.name)
    assert encode(message) == twin.SerializeToString(deterministic=True)
    assert decode(twin.SerializeToString(), _Outer) == message


@given(st.binary(max_size=60))
def test_whatever_comes_is_a_message_or_a_value_error(data: bytes) -> None:
    for kind in (_Outer, rpc.WatchResponse, rpc.RangeResponse):
        with suppress(ValueError):
            decode(data, kind)


@given(_outer, st.data())
def test_a_message_that_is_cut_is_an_error_or_what_came_of_it(
    message: _Outer, data: st.DataObject
) -> None:
    """Between two fields a message may end: it is an error where it is one for google's library."""
    whole = encode(message)
    start = whole[: data.draw(st.integers(0, len(whole)))]
    try:
        _GOOGLE.FromString(start)
    except DecodeError:
        with pytest.raises(ValueError, match="cut short"):
            decode(start, _Outer)
    else:
        assert encode(decode(start, _Outer)) == start


def test_fields_that_are_not_known_are_passed_over() -> None:
    class _Newer(Message, frozen=True):
        count: Annotated[int, 1] = 0
        more: Annotated[bytes, 9] = b""

    fixed = bytes([13 << 3 | 5]) + b"\0" * 4 + bytes([14 << 3 | 1]) + b"\0" * 8
    assert decode(encode(_Newer(7, b"x")) + fixed, _Inner) == _Inner(7)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"\x08", "cut short"),
        (b"\x12\x05ab", "cut short"),
        (b"\x08" + b"\xff" * 10, "longer than 64 bits"),
        (b"\x0b", "wire type 3"),
        (b"\x0a\x00", "count has another wire type"),
    ],
)
def test_what_is_wrong_is_said(data: bytes, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        decode(data, _Inner)


@pytest.mark.parametrize(
    ("prefix", "end"), [(b"a/", b"a0"), (b"a\xff", b"b"), (b"\xff\xff", b"\0"), (b"", b"\0")]
)
def test_the_end_of_a_prefix(prefix: bytes, end: bytes) -> None:
    assert rpc.prefix_end(prefix) == end
