# SPDX-License-Identifier: Apache-2.0
"""A worker whose turns stand still is stuck; one that sleeps, or that nobody looked at, is not."""

from fwd.core.heartbeat import LOOKS, STUCK_SECONDS, Heartbeat

DEVICE = "flannel.1"


def test_a_worker_that_turns_is_well() -> None:
    heartbeat = Heartbeat()
    for i in range(100):
        assert heartbeat.observe({DEVICE: (i // 2, 7 * i)}, now=i * 0.5) == []


def test_a_worker_that_stands_still_is_stuck_after_two_seconds() -> None:
    heartbeat = Heartbeat()
    found = [
        (now / 10, heartbeat.observe({DEVICE: (5, now), "flannel-v6.1": (now,)}, now=now / 10))
        for now in range(0, 40, 4)
    ]
    first = next(now for now, stuck in found if stuck)
    assert STUCK_SECONDS <= first <= STUCK_SECONDS + 0.4
    assert found[-1][1] == [(DEVICE, 0)]


def test_a_machine_that_stood_still_tells_nothing() -> None:
    heartbeat = Heartbeat()
    assert heartbeat.observe({DEVICE: (5,)}, now=0.0) == []
    assert heartbeat.observe({DEVICE: (5,)}, now=1000.0) == []
    for i in range(LOOKS - 2):
        assert heartbeat.observe({DEVICE: (5,)}, now=1000.1 + i / 10) == []
    assert heartbeat.observe({DEVICE: (5,)}, now=1001.0) == [(DEVICE, 0)]


def test_a_device_that_was_away_begins_anew() -> None:
    heartbeat = Heartbeat()
    for i in range(4):
        assert heartbeat.observe({DEVICE: (5,)}, now=i * 0.4) == []
    assert heartbeat.observe({}, now=2.0) == []
    assert heartbeat.observe({DEVICE: (5,)}, now=2.4) == []
    assert heartbeat.observe({DEVICE: (5,)}, now=2.8) == []
