# SPDX-License-Identifier: Apache-2.0
"""The order of measuring: in each round every scenario, with one contender after the other.

What disturbs a measurement is looked for: other load just before each scenario, when nothing of
ours runs, time stolen by the hypervisor during it, and whether that has moved the processors
meanwhile.  Load is waited for to end, a measurement is repeated, both a bounded number of times;
after that the sample says it is disturbed.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypedDict

from msgspec import Struct

from fwd.bench import links, machine, scenarios
from fwd.bench.contenders import Contender, Running, takes_part
from fwd.bench.outcome import MAX_LOAD, MAX_STOLEN, MOVED, Outcome, Sample
from fwd.bench.scenarios import Scenario, Timing

_CALM_WAIT: Final = 0.5  # seconds

Say = Callable[[str, int, int], None]
"""What is being measured, how many measurements are done, of how many."""


class Schedule(Struct, frozen=True):
    """What to measure, how often, for how long at most.

    Attributes:
        underlays: states of its links (``links.STATES``).
        repeats: of a disturbed measurement, and waits for other load to end.
        time_limit: seconds, after which no scenario is begun; one that is begun is measured with
            every contender, as figures beside each other are what they are for.
    """

    rounds: int
    underlays: tuple[str, ...]
    scenarios: tuple[Scenario, ...]
    timing: Timing
    repeats: int
    time_limit: float


class Measured(Struct, frozen=True):
    """All samples; ``complete`` unless the time ran out."""

    samples: tuple[Sample, ...]
    complete: bool
    seconds: float


def planned(contenders: Sequence[Contender], schedule: Schedule) -> int:
    """How many measurements these make."""
    return sum(
        takes_part(one, underlay) for _, underlay, _ in _groups(schedule) for one in contenders
    )


def run(contestants: Sequence[Running], schedule: Schedule, *, say: Say) -> Measured:
    """Measure.

    Raises:
        LabError: the underlay's offload cannot be switched.
    """
    began = time.monotonic()
    total = planned([running.contender for running in contestants], schedule)
    samples: list[Sample] = []
    underlay = None
    for number, wanted, scenario in _groups(schedule):
        if time.monotonic() - began > schedule.time_limit:
            break
        if wanted != underlay:
            underlay = wanted
            for running in contestants:
                links.switch(running.topology, wanted)
        load = _calm(schedule.repeats)
        for running in contestants:
            if not takes_part(running.contender, wanted):
                continue
            say(
                f"round {number}/{schedule.rounds}, offload {wanted}, {scenario.name}:"
                f" {running.contender.name}",
                len(samples),
                total,
            )
            samples.append(
                Sample(
                    underlay=wanted,
                    scenario=scenario.name,
                    contender=running.contender.name,
                    round=number,
                    load=load,
                    **_measure(scenario, running, schedule),
                )
            )
    return Measured(tuple(samples), len(samples) == total, time.monotonic() - began)


def _groups(schedule: Schedule) -> Iterator[tuple[int, str, Scenario]]:
    for number in range(1, schedule.rounds + 1):
        for underlay in schedule.underlays:
            for scenario in schedule.scenarios:
                if underlay == links.ON or scenario.plain_too:
                    yield number, underlay, scenario


class _Measurement(TypedDict):
    """What of a Sample is known only after measuring."""

    outcome: Outcome
    stolen: float
    apart: int
    moved: bool
    repeats: int


def _measure(scenario: Scenario, running: Running, schedule: Schedule) -> _Measurement:
    repeats = 0
    while True:
        first, before = machine.processors_apart(), machine.cpu_times()
        outcome = scenarios.attempt(scenario, running, schedule.timing)
        stolen = (machine.cpu_times() - before).stolen_share
        near, far = sorted((first, machine.processors_apart()))
        moved = far > MOVED * near > 0
        if (stolen <= MAX_STOLEN and not moved) or repeats == schedule.repeats:
            return {
                "outcome": outcome,
                "stolen": stolen,
                "apart": far,
                "moved": moved,
                "repeats": repeats,
            }
        repeats += 1


def _calm(patience: int) -> float:
    """The load while nothing of ours runs, after waiting for it to go."""
    load = machine.load_now()
    for _ in range(patience):
        if load <= MAX_LOAD:
            break
        time.sleep(_CALM_WAIT)
        load = machine.load_now()
    return load
