# SPDX-License-Identifier: Apache-2.0
"""Samples become medians, spread and ratios.  Pure.

A ratio is given only when every run of both sides came to a figure.  When one of these runs lost
packets or was disturbed the ratio is ``marked``, and the remarks say what it was.
"""

import statistics
from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct

from fwd.bench.outcome import MOVED, Metric, Sample

_SHOWN_LOSS = 0.05  # per cent: what rounds to more than nothing


class Summary(Struct, frozen=True):
    """One metric of one contender over all rounds; ``ratio`` of medians, to the baseline."""

    underlay: str
    metric: str
    contender: str
    runs: int
    failed: int
    median: float | None = None
    least: float | None = None
    most: float | None = None
    ratio: float | None = None
    marked: bool = False
    remarks: tuple[str, ...] = ()


class Order(Struct, frozen=True):
    """All datagrams of a contender that arrived, and how many were late or came twice."""

    contender: str
    datagrams: int
    reordered: int
    duplicate: int


def summarize(
    samples: Sequence[Sample], metrics: Iterable[tuple[str, Metric]], *, baseline: str
) -> list[Summary]:
    """One summary for each underlay, metric and contender that was measured, in that order.

    Args:
        samples: all of them, of any number of rounds.
        metrics: with the names of their scenarios, in the order wanted.
        baseline: the contender that ratios are to.
    """
    pairs = tuple(metrics)
    found: list[Summary] = []
    for underlay in dict.fromkeys(sample.underlay for sample in samples):
        for scenario, metric in pairs:
            chosen = [
                sample
                for sample in samples
                if sample.underlay == underlay and sample.scenario == scenario
            ]
            group = {
                name: [sample for sample in chosen if sample.contender == name]
                for name in dict.fromkeys(sample.contender for sample in chosen)
            }
            found += _compare(underlay, metric, group, baseline=baseline)
    return found


def order(samples: Sequence[Sample]) -> list[Order]:
    """One for each contender, over everything that it was measured with."""
    return [
        Order(
            contender=name,
            datagrams=sum(one.outcome.datagrams for one in own),
            reordered=sum(one.outcome.reordered for one in own),
            duplicate=sum(one.outcome.duplicate for one in own),
        )
        for name in dict.fromkeys(sample.contender for sample in samples)
        if (own := [one for one in samples if one.contender == name])
    ]


def _compare(
    underlay: str, metric: Metric, group: dict[str, list[Sample]], *, baseline: str
) -> Iterator[Summary]:
    measured = {name: _values(samples, metric) for name, samples in group.items()}
    known = [one.apart for samples in group.values() for one in samples if one.apart]
    far = MOVED * min(known, default=0)
    flaws = {name: tuple(_flaws(samples, metric, far=far)) for name, samples in group.items()}
    bar = measured.get(baseline, [])
    bar_whole = bool(bar) and len(bar) == len(group[baseline])
    for name, samples in group.items():
        values = measured[name]
        whole = len(values) == len(samples)
        remarks = [*_errors(samples, metric), *flaws[name]]
        ratio = None
        if values and whole and bar_whole and statistics.median(bar) > 0:
            ratio = statistics.median(values) / statistics.median(bar)
        elif values and not whole:
            remarks.append("so no ratio")
        elif values and baseline in group and not bar_whole:
            remarks.append(f"no ratio: {baseline} failed")
        yield Summary(
            underlay=underlay,
            metric=metric.name,
            contender=name,
            runs=len(samples),
            failed=len(samples) - len(values),
            median=statistics.median(values) if values else None,
            least=min(values, default=None),
            most=max(values, default=None),
            ratio=ratio,
            marked=ratio is not None and bool(flaws[name] or flaws.get(baseline)),
            remarks=tuple(remarks),
        )


def _values(samples: Iterable[Sample], metric: Metric) -> list[float]:
    return [one.outcome.values[metric.name] for one in samples if metric.name in one.outcome.values]


def _errors(samples: Sequence[Sample], metric: Metric) -> Iterator[str]:
    failed = [one for one in samples if metric.name not in one.outcome.values]
    reasons = dict.fromkeys(one.outcome.error or "no figure" for one in failed)
    for reason in reasons:
        count = sum((one.outcome.error or "no figure") == reason for one in failed)
        yield f"{count} of {len(samples)} failed: {reason}"


def _flaws(samples: Sequence[Sample], metric: Metric, *, far: float) -> Iterator[str]:
    """What makes a figure less than clean, though it is one.

    far: nanoseconds apart, beyond which processors are at other places than in other runs.
    """
    outcomes = [sample.outcome for sample in samples]
    lost = max((one.loss_percent.get(metric.name, 0.0) for one in outcomes), default=0.0)
    if lost >= _SHOWN_LOSS:
        yield f"{lost:.1f} % lost"
    for count, what in (
        (sum(one.retransmits for one in outcomes), "resent"),
        (sum(one.unanswered for one in outcomes), "unanswered"),
        (sum(one.reordered for one in outcomes), "out of order"),
        (sum(one.duplicate for one in outcomes), "twice"),
        (sum(sample.repeats for sample in samples), "repeated"),
    ):
        if count:
            yield f"{count} {what}"
    elsewhere = [sample.apart for sample in samples if sample.apart > far]
    if elsewhere:
        yield f"{len(elsewhere)} of {len(samples)} with processors {max(elsewhere)} ns apart"
    disturbed = sum(sample.disturbed for sample in samples)
    if disturbed:
        yield f"{disturbed} of {len(samples)} disturbed"
