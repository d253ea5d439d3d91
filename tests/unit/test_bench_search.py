# SPDX-License-Identifier: Apache-2.0
"""The search for the highest rate, on paths whose capacity is known."""

from hypothesis import given
from hypothesis import strategies as st

from fwd.bench.search import highest
from fwd.bench.traffic import Datagrams

ALLOWED = 0.5


def path(capacity: int, *, offered: int) -> Datagrams:
    """A second on a path that carries so many and drops the rest."""
    return Datagrams(offered, min(offered, capacity), 0, 0, 1.0, 1.0)


def search(capacity: int, *, fastest: int, steps: int = 6) -> tuple[Datagrams | None, list[int]]:
    asked: list[int] = []

    def offer(rate: int) -> Datagrams:
        asked.append(rate)
        return path(capacity, offered=rate)

    unpaced = path(capacity, offered=fastest)
    found = highest(offer, unpaced=unpaced, allowed_percent=ALLOWED, steps=steps)
    return found, asked


def test_a_sender_that_loses_nothing_is_not_searched() -> None:
    found, asked = search(1000, fastest=900)
    assert found == path(1000, offered=900)
    assert asked == []


def test_a_path_that_never_carries_is_none() -> None:
    def offer(rate: int) -> Datagrams:
        return Datagrams(rate, rate // 2, 0, 0, 1.0, 1.0)

    unpaced = offer(1000)
    assert highest(offer, unpaced=unpaced, allowed_percent=ALLOWED, steps=5) is None


def test_nothing_at_all_ends_at_once() -> None:
    assert search(0, fastest=1000) == (None, [])


@given(st.integers(100, 10**6), st.integers(100, 10**6), st.integers(1, 8))
def test_what_is_found_was_measured_and_is_near(capacity: int, fastest: int, steps: int) -> None:
    found, asked = search(capacity, fastest=fastest, steps=steps)
    assert len(asked) <= steps
    assert found is not None
    assert found.loss_percent < ALLOWED
    assert found.sent in {*asked, fastest}
    assert found.received > min(capacity, fastest) * 0.98
