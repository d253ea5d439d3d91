# SPDX-License-Identifier: Apache-2.0
"""What is measured again, because processors were moved meanwhile."""

from collections.abc import Iterator
from typing import Any, cast

import pytest

from fwd.bench import machine, rounds, scenarios
from fwd.bench.outcome import Outcome


@pytest.mark.parametrize(
    ("apart", "kept"),
    [
        ([50, 60], (60, False, 0)),
        ([50, 300, 300, 290], (300, False, 1)),
        ([50, 300, 300, 50, 50, 300], (300, True, 2)),  # patience ends
        ([0, 0], (0, False, 0)),  # one processor
        ([0, 300], (300, False, 0)),
    ],
)
def test_a_measurement_is_repeated_while_processors_move(
    monkeypatch: pytest.MonkeyPatch, apart: list[int], kept: tuple[int, bool, int]
) -> None:
    places: Iterator[int] = iter(apart)
    monkeypatch.setattr(machine, "processors_apart", lambda: next(places))
    monkeypatch.setattr(scenarios, "attempt", lambda *_: Outcome())
    calm = machine.CpuTimes(1.0, 1.0, 0.0)
    monkeypatch.setattr(machine, "cpu_times", lambda: calm)
    schedule = rounds.Schedule(1, (), (), cast("Any", None), repeats=2, time_limit=1.0)
    taken = rounds._measure(cast("Any", None), cast("Any", None), schedule)
    assert (taken["apart"], taken["moved"], taken["repeats"]) == kept
    assert not list(places)
