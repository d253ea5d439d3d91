# SPDX-License-Identifier: Apache-2.0
"""JSON objects read into named fields by the rules of Go's encoding/json.

Keys match whatever their case, unknown keys are ignored, the last of several equal keys wins, null
leaves a field as it was, and a value of the wrong type is an error (flannel spec 2).  Which fields
there are is a table of the caller's.
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

Decode: TypeAlias = Callable[[Any], Any]

_INT64 = range(-(2**63), 2**63)
_UINT64 = range(2**64)
_HALF = re.compile(r"[\ud800-\udfff]")
"""Half of a character of UTF-16 that was written by its number, and has no other half beside it."""


class Pairs(list[tuple[str, Any]]):
    """A JSON object with its keys as written, in order, repeats included."""


class _Number(str):
    """A number with fraction or exponent, which Go never takes for an integer."""

    __slots__ = ()


def parse(text: str | bytes) -> Any:  # noqa: ANN401 - whatever JSON holds
    """One JSON document; objects are Pairs.  ValueError says at which line and column it breaks."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", errors="replace")
    try:
        return json.loads(
            text, object_pairs_hook=Pairs, parse_float=_Number, parse_constant=_refuse_constant
        )
    except RecursionError as error:
        raise ValueError("is nested too deeply") from error


def fields(value: Any, table: Mapping[str, Decode]) -> dict[str, Any]:  # noqa: ANN401
    """The fields of object `value` that `table` has a decoder for, by the table's names.

    A field's key is its name without underscores.  A decoder raises ValueError with what it wants;
    here the key as written is put before it.
    """
    names = {name.replace("_", ""): name for name in table}
    found: dict[str, Any] = {}
    if value is None:
        return found
    if not isinstance(value, Pairs):
        raise ValueError(f"must be an object, not {kind(value)}")  # noqa: TRY004 - a value's fault
    for key, item in value:
        name = names.get(key.casefold())
        if name is None:
            continue
        try:
            decoded = table[name](item)
        except ValueError as error:
            raise ValueError(f"{key}: {error}") from error
        if decoded is not None:
            found[name] = decoded
    return found


def kind(value: Any) -> str:  # noqa: ANN401
    """What JSON calls the type of value."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | _Number():
            return "a number"
        case str():
            return "a string"
        case Pairs():
            return "an object"
        case _:
            return "an array"


def string(value: Any) -> str | None:  # noqa: ANN401
    """Go's string, which has U+FFFD for half a character: no UTF-8 could be made of that."""
    if value is None:
        return None
    if isinstance(value, str) and not isinstance(value, _Number):
        return _HALF.sub("\ufffd", value)
    raise ValueError(f"must be a string, not {kind(value)}")


def boolean(value: Any) -> bool | None:  # noqa: ANN401
    """Go's bool."""
    if value is None or isinstance(value, bool):
        return value
    raise ValueError(f"must be true or false, not {kind(value)}")


def integer(value: Any) -> int | None:  # noqa: ANN401
    """Go's int, 64 bits."""
    return _integer(value, _INT64, "an integer")


def unsigned(value: Any) -> int | None:  # noqa: ANN401
    """Go's uint, 64 bits."""
    return _integer(value, _UINT64, "a non-negative integer")


def _integer(value: Any, within: range, wanted: str) -> int | None:  # noqa: ANN401
    if value is None:
        return None
    if type(value) is int and value in within:
        return value
    shown = value if isinstance(value, int | _Number) and not isinstance(value, bool) else None
    raise ValueError(f"must be {wanted}, not {shown or kind(value)}")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
