# SPDX-License-Identifier: Apache-2.0
"""A worker that runs without a turn is stuck; one that sleeps, or that nobody lets run, is not."""

import pytest

from fwd.core.heartbeat import IDLE_SECONDS, LOOKS, STUCK_SECONDS, Beat, Heartbeat

DEVICE = "flannel.1"
OTHER = "flannel-v6.1"
PAUSE = 0.4  # between looks


def test_a_worker_that_turns_is_well() -> None:
    heartbeat = Heartbeat()
    for i in range(100):
        beats = (Beat(i // 2, i * 0.5), Beat(7 * i, 0.0))
        assert heartbeat.observe({DEVICE: beats}, now=i * 0.5) == []


@pytest.mark.parametrize(
    ("share", "limit"), [(1.0, STUCK_SECONDS), (0.6, STUCK_SECONDS), (0.0, IDLE_SECONDS)]
)
def test_a_worker_without_a_turn_is_stuck_sooner_if_it_runs(share: float, limit: float) -> None:
    heartbeat = Heartbeat()
    first, stuck = None, []
    for i in range(30):
        now = i * PAUSE
        beats = {DEVICE: (Beat(5, 3 + now * share), Beat(i, now)), OTHER: (Beat(i, 0.0),)}
        stuck = heartbeat.observe(beats, now=now)
        first = now if stuck and first is None else first
    assert first is not None
    assert limit <= first <= limit + PAUSE + 1e-6
    assert stuck == [(DEVICE, 0)]


def test_a_worker_that_the_machine_does_not_run_has_longer() -> None:
    """What ran before it stood still does not count."""
    heartbeat = Heartbeat()
    for i in range(24):
        assert heartbeat.observe({DEVICE: (Beat(5, 1000.0),)}, now=i * PAUSE) == []


def test_a_machine_that_stood_still_tells_nothing() -> None:
    heartbeat = Heartbeat()
    assert heartbeat.observe({DEVICE: (Beat(5, 0.0),)}, now=0.0) == []
    assert heartbeat.observe({DEVICE: (Beat(5, 9.0),)}, now=1000.0) == []
    for i in range(LOOKS - 3):
        assert heartbeat.observe({DEVICE: (Beat(5, 9.0),)}, now=1000.1 + i / 10) == []
    assert heartbeat.observe({DEVICE: (Beat(5, 9.0),)}, now=1001.0) == [(DEVICE, 0)]


def test_a_device_that_was_away_begins_anew() -> None:
    heartbeat = Heartbeat()
    beats = {DEVICE: (Beat(5, 0.0),)}
    for i in range(4):
        assert heartbeat.observe(beats, now=i * PAUSE) == []
    assert heartbeat.observe({}, now=12.0) == []
    assert heartbeat.observe(beats, now=12.4) == []
    assert heartbeat.observe(beats, now=12.8) == []
