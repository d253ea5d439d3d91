# SPDX-License-Identifier: Apache-2.0
"""The last few of each kind, against a list of all."""

from hypothesis import given
from hypothesis import strategies as st

from fwd.core.lastofeach import LastOfEach

MOST = 3


def test_many_of_one_kind_hide_no_other() -> None:
    last: LastOfEach[int] = LastOfEach(MOST)
    last.add("seldom", 0)
    for number in range(1, 100):
        last.add("often", number)
    assert last.since(0) == [0, 97, 98, 99]
    assert last.since(98) == [98, 99]
    assert last.since(last.count) == []


@given(st.lists(st.sampled_from("abc"), max_size=30), st.integers(0, 31))
def test_it_is_what_a_list_of_all_says(kinds: list[str], number: int) -> None:
    last: LastOfEach[int] = LastOfEach(MOST)
    for index, kind in enumerate(kinds, 1):
        last.add(kind, index)
    kept = [index for index, kind in enumerate(kinds, 1) if kinds[index:].count(kind) < MOST]
    assert last.since(number) == [index for index in kept if index > number]
    assert last.count == len(kinds)
