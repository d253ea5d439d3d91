# SPDX-License-Identifier: Apache-2.0
"""A worker that mostly waits for a processor is told of; one that is busy, or idle, is not."""

import logging

import pytest

from fwd.core.processortime import (
    AGAIN_SECONDS,
    LOOK_SECONDS,
    ProcessorTime,
    ProcessorWatch,
    Scarcity,
    parse_schedstat,
)
from fwd.ops.report import Reporter

WORKER = ("flannel.1", 0)


def test_what_the_kernel_says() -> None:
    assert parse_schedstat("1500000000 250000000 7\n") == ProcessorTime(1.5, 0.25)


@pytest.mark.parametrize("text", ["0 0 0\n", "", "1 2\n", "1 2 3 4\n", "-1 2 3\n", "a b c\n"])
def test_a_kernel_that_does_not_count(text: str) -> None:
    assert parse_schedstat(text) is None


def observed(*spent: tuple[float, float], seconds: float = LOOK_SECONDS) -> list[list[Scarcity]]:
    """What each look at one worker tells, of what it ran and waited since the look before."""
    watch, ran, waited, found = ProcessorWatch(), 0.0, 0.0, []
    for look, (more_ran, more_waited) in enumerate(spent):
        ran, waited = ran + more_ran, waited + more_waited
        times = {WORKER: ProcessorTime(ran, waited)}
        found.append(watch.observe(times, now=1000 + look * seconds))
    return found


def test_who_mostly_waits_is_told_of() -> None:
    """What was before the first look is not of a minute."""
    first, second = observed((5, 500), (2, 6.5))
    assert first == []
    (told,) = second
    assert (told.device, told.worker) == WORKER
    assert told.time == ProcessorTime(2, 6.5)


@pytest.mark.parametrize(
    ("ran", "waited"),
    [(40.0, 20.0), (15.0, 45.0), (0.01, 5.9), (0.0, 0.0)],
    ids=["busy", "three times as long at most", "nearly nothing", "idle"],
)
def test_who_does_not_is_not(ran: float, waited: float) -> None:
    assert observed((1, 1), (ran, waited)) == [[], []]


def test_it_is_told_once_and_again_after_an_hour() -> None:
    looks = int(AGAIN_SECONDS // LOOK_SECONDS)
    found = observed(*[(1.0, 10.0)] * (looks + 3))
    assert [look for look, told in enumerate(found) if told] == [1, looks + 1]


def test_a_worker_that_was_made_anew_begins_anew() -> None:
    watch = ProcessorWatch()
    watch.observe({WORKER: ProcessorTime(50, 10)}, now=0)
    assert watch.observe({WORKER: ProcessorTime(1, 40)}, now=60) == []
    assert watch.observe({WORKER: ProcessorTime(2, 80)}, now=120)


def test_the_log_says_it(caplog: pytest.LogCaptureFixture) -> None:
    """Between two looks nothing is read."""
    reporter, looks = Reporter(), 0

    def look() -> dict[tuple[str, int], ProcessorTime]:
        nonlocal looks
        looks += 1
        return {WORKER: ProcessorTime(looks, 10 * looks)}

    with caplog.at_level(logging.INFO, "fwd"):
        for second in range(int(LOOK_SECONDS) + 1):
            reporter.processors(look, now=float(second))
    assert looks == 2
    assert [text.partition(" text=")[0] for text in caplog.messages] == [
        "event=worker-waits device=flannel.1 worker=0 ran=1 waited=10"
    ]
