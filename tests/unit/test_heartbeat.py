# SPDX-License-Identifier: Apache-2.0
"""A worker that runs without a turn is stuck; one that sleeps, or that nobody lets run, is not."""

import math

import pytest

from fwd.core.heartbeat import IDLE_SECONDS, RUN_SECONDS, STUCK_SECONDS, Beat, Heartbeat, Stuck
from fwd.supervisor.pauses import CALM_SECONDS

DEVICE = "flannel.1"
OTHER = "flannel-v6.1"
PAUSE = 0.4  # between looks


def beat(turns: int, ran: float = 0.0, *, held: bool = False) -> Beat:
    return Beat(turns, ran, held)


def test_a_worker_that_turns_is_well() -> None:
    heartbeat = Heartbeat()
    for i in range(100):
        beats = (beat(i // 2, i * 0.5), beat(7 * i))
        assert heartbeat.observe({DEVICE: beats}, now=i * 0.5) == []


@pytest.mark.parametrize(
    ("share", "limit"),
    [
        (1.0, STUCK_SECONDS),
        (0.6, STUCK_SECONDS),
        (0.2, 5 * RUN_SECONDS),
        (0.0, IDLE_SECONDS),
        (math.nan, IDLE_SECONDS),
    ],
)
def test_a_worker_without_a_turn_is_stuck_sooner_if_it_runs(share: float, limit: float) -> None:
    """What it ran before does not count."""
    heartbeat = Heartbeat()
    found: list[Stuck] = []
    i = 0
    while not found:
        now = i * PAUSE
        beats = {DEVICE: (beat(5, 3000 + now * share), beat(i, now)), OTHER: (beat(i),)}
        found = heartbeat.observe(beats, now=now)
        i += 1
    assert [(one.device, one.worker, one.held) for one in found] == [(DEVICE, 0, False)]
    assert limit - 1e-6 <= found[0].seconds <= limit + PAUSE + 1e-6
    if share >= 0:
        assert found[0].ran == pytest.approx(share * found[0].seconds)


def test_what_it_ran_counts_from_when_it_is_known() -> None:
    heartbeat = Heartbeat()
    found: list[Stuck] = []
    i = 0
    while not found:
        ran = 3000 + i * PAUSE if i else math.nan
        found = heartbeat.observe({DEVICE: (beat(5, ran),)}, now=i * PAUSE)
        i += 1
    assert STUCK_SECONDS - 1e-6 <= found[0].seconds <= STUCK_SECONDS + PAUSE
    assert found[0].ran == pytest.approx(found[0].seconds - PAUSE)


@pytest.mark.parametrize("looks", range(1, 6))
def test_a_machine_that_stood_still_tells_nothing(looks: int) -> None:
    """However often it was looked before: who slept has its second after that, too."""
    heartbeat = Heartbeat()
    still = {DEVICE: (beat(5),)}
    for i in range(looks):
        assert heartbeat.observe(still, now=i * PAUSE) == []
    for i in range(10):
        assert heartbeat.observe(still, now=1000 + i * PAUSE) == []


def test_a_device_that_was_away_begins_anew() -> None:
    heartbeat = Heartbeat()
    still = {DEVICE: (beat(5),)}
    for i in range(20):
        assert heartbeat.observe(still, now=i * PAUSE) == []
    assert heartbeat.observe({}, now=8.0) == []
    for i in range(20):
        assert heartbeat.observe(still, now=8.4 + i * PAUSE) == []


def test_who_is_held_by_the_kernel_is_told_again_and_again() -> None:
    heartbeat = Heartbeat()
    found = [
        one
        for i in range(80)
        for one in heartbeat.observe({DEVICE: (beat(5, held=True),)}, now=i * PAUSE)
    ]
    assert [one.held for one in found] == [True] * 3


def test_a_crash_for_being_stuck_does_not_end_a_row_of_crashes() -> None:
    assert IDLE_SECONDS + 2 < CALM_SECONDS
