# SPDX-License-Identifier: Apache-2.0
"""The counters' names, texts and kinds, as cext/counters.h and cext/drops.def have them."""

import enum
from functools import cache

from msgspec import Struct

from fwd._plane import ffi, lib


class CounterKind(enum.IntEnum):
    """What a counter counts."""

    TRAFFIC = lib.VX_COUNT_TRAFFIC
    DROP_OUT = lib.VX_COUNT_DROP_OUT
    DROP_IN = lib.VX_COUNT_DROP_IN


class CounterInfo(Struct, frozen=True):
    """One counter: snake_case name for machines, a sentence for people."""

    name: str
    text: str
    kind: CounterKind


@cache
def counter_info() -> tuple[CounterInfo, ...]:
    """All counters that the library has, in its order."""
    return tuple(
        CounterInfo(
            name=ffi.string(lib.vx_counter_name(i)).decode("ascii"),
            text=ffi.string(lib.vx_counter_text(i)).decode("ascii"),
            kind=CounterKind(lib.vx_counter_kind(i)),
        )
        for i in range(lib.vx_counter_count())
    )
