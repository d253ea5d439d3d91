# SPDX-License-Identifier: Apache-2.0
"""The part of the Protocol Buffers wire format that etcd's messages are made of.

A message is a frozen Struct; its fields say their number and wire form by their annotation:

    class KeyValue(Message, frozen=True):
        key: Annotated[bytes, 1] = b""
        version: Annotated[int, 4] = 0

int (of 64 bits, varint), bool, bytes, str, another message or None, and tuples of messages.  As
proto3 has it, a field that holds its default is not sent, and one that is not known is passed over.
https://protobuf.dev/programming-guides/encoding/
"""

from collections.abc import Callable
from functools import cache
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

from msgspec import Struct

_VARINT, _I64, _LEN, _I32 = 0, 1, 2, 5
_MASK = (1 << 64) - 1
_SIGN = 1 << 63


class Message(Struct, frozen=True):
    """What can be sent and received."""


class _Field(Struct, frozen=True):
    name: str
    number: int
    wire: int
    default: Any
    pack: Callable[[Any], bytes]
    unpack: Callable[[Any], Any]
    is_repeated: bool = False


M = TypeVar("M", bound=Message)


def encode(message: Message) -> bytes:
    """The message's bytes."""
    out = bytearray()
    for field in _fields(type(message)).values():
        value = getattr(message, field.name)
        if value == field.default:
            continue
        for item in value if field.is_repeated else (value,):
            packed = field.pack(item)
            out += _varint(field.number << 3 | field.wire)
            if field.wire == _LEN:
                out += _varint(len(packed))
            out += packed
    return bytes(out)


def decode(data: bytes, kind: type[M]) -> M:
    """A message of this kind.  Raises ValueError for bytes that are none."""
    table = _fields(kind)
    values: dict[str, Any] = {}
    at, end = 0, len(data)
    while at < end:
        tag, at = _read_varint(data, at)
        value, at = _read_value(data, at, tag & 7)
        field = table.get(tag >> 3)
        if field is None:
            continue
        if field.wire != tag & 7:
            raise ValueError(f"field {field.name} has another wire type")
        value = field.unpack(value)
        if field.is_repeated:
            values.setdefault(field.name, []).append(value)
        else:
            values[field.name] = value
    for name, value in values.items():
        if isinstance(value, list):
            values[name] = tuple(value)
    return kind(**values)


def _read_value(data: bytes, at: int, wire: int) -> tuple[int | bytes, int]:
    if wire == _VARINT:
        return _read_varint(data, at)
    if wire == _LEN:
        length, at = _read_varint(data, at)
    elif wire in (_I64, _I32):
        length = 8 if wire == _I64 else 4
    else:
        raise ValueError(f"wire type {wire} is unknown")
    if length > len(data) - at:
        raise ValueError("a message is cut short")
    return data[at : at + length], at + length


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 70:
        if at >= len(data):
            raise ValueError("a message is cut short")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & _MASK, at
        shift += 7
    raise ValueError("a number is longer than 64 bits")


def _varint(value: int) -> bytes:
    value &= _MASK
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _signed(value: int) -> int:
    return value - (1 << 64) if value & _SIGN else value


def _text(data: bytes) -> str:
    return data.decode("utf-8", errors="replace")


@cache
def _fields(kind: type[Message]) -> dict[int, _Field]:
    """By number."""
    found: dict[int, _Field] = {}
    defaults = dict(zip(kind.__struct_fields__, kind.__struct_defaults__, strict=True))
    for name, hint in get_type_hints(kind, include_extras=True).items():
        if get_origin(hint) is Annotated:
            of, number = get_args(hint)
            found[number] = _field(name, number, of, default=defaults[name])
    return found


def _field(name: str, number: int, of: Any, *, default: object) -> _Field:  # noqa: ANN401
    is_repeated = get_origin(of) is tuple
    inner = next((one for one in get_args(of) if isinstance(one, type)), of)
    pack, unpack = _FORMS.get(inner) or (encode, lambda data: decode(data, inner))
    wire = _VARINT if inner in (int, bool) else _LEN
    return _Field(name, number, wire, default, pack, unpack, is_repeated)


_FORMS: dict[Any, tuple[Callable[[Any], bytes], Callable[[Any], Any]]] = {
    int: (_varint, _signed),
    bool: (_varint, bool),
    bytes: (bytes, bytes),
    str: (str.encode, _text),
}
