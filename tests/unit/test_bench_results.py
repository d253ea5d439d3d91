# SPDX-License-Identifier: Apache-2.0
"""Medians, spread and ratios: and that no ratio hides what happened in the runs it is made of."""

from typing import Any

from fwd.bench.outcome import Metric, Outcome, Sample
from fwd.bench.results import Order, Summary, order, summarize

RATE = Metric("rate", "a rate", "kpps")


_ABOUT = ("stolen", "load", "repeats", "apart", "moved")


def sample(contender: str, value: float | None, number: int = 1, **more: Any) -> Sample:  # noqa: ANN401
    """A round's figure or failure; `more` is of the sample or of its outcome."""
    about = {name: more.pop(name) for name in _ABOUT if name in more}
    values = {} if value is None else {"rate": value}
    error = "nothing arrived" if value is None else None
    outcome = Outcome(values=values, error=error, **more)
    underlay = "on"
    return Sample(underlay, "scenario", contender, number, outcome, **about)


def summaries(*samples: Sample) -> dict[str, Summary]:
    found = summarize(samples, [("scenario", RATE)], baseline="kernel")
    return {one.contender: one for one in found}


def test_figures_are_medians_and_ratios_are_of_medians() -> None:
    found = summaries(
        *(sample("fwd", value) for value in (3.0, 9.0, 5.0)),
        *(sample("kernel", value) for value in (10.0, 2.0, 20.0)),
    )
    fwd = found["fwd"]
    assert (fwd.median, fwd.least, fwd.most, fwd.runs, fwd.failed) == (5.0, 3.0, 9.0, 3, 0)
    assert fwd.ratio == 0.5
    assert not fwd.marked
    assert fwd.remarks == ()
    assert found["kernel"].ratio == 1.0


def test_a_failed_run_leaves_no_ratio_and_says_why() -> None:
    found = summaries(sample("fwd", 3.0), sample("fwd", None, 2), sample("kernel", 1.0))
    fwd = found["fwd"]
    assert (fwd.median, fwd.ratio, fwd.failed) == (3.0, None, 1)
    assert fwd.remarks == ("1 of 2 failed: nothing arrived", "so no ratio")


def test_a_baseline_that_failed_leaves_no_ratio_to_anybody() -> None:
    found = summaries(sample("fwd", 3.0), sample("kernel", 1.0), sample("kernel", None, 2))
    assert [one.ratio for one in found.values()] == [None, None]
    assert found["fwd"].remarks == ("no ratio: kernel failed",)


def test_without_a_baseline_there_are_figures_and_no_ratios() -> None:
    found = summaries(sample("fwd", 3.0))
    assert (found["fwd"].median, found["fwd"].ratio, found["fwd"].remarks) == (3.0, None, ())


def test_nothing_but_failures_is_a_row_without_figures() -> None:
    fwd = summaries(sample("fwd", None), sample("kernel", 1.0))["fwd"]
    assert (fwd.median, fwd.least, fwd.most, fwd.ratio) == (None, None, None, None)


def test_loss_marks_the_ratio_of_both_sides() -> None:
    found = summaries(sample("fwd", 3.0), sample("kernel", 1.0, loss_percent={"rate": 12.0}))
    assert found["fwd"].marked
    assert found["fwd"].remarks == ()
    assert found["kernel"].remarks == ("12.0 % lost",)


def test_each_flaw_has_its_remark() -> None:
    fwd = summaries(
        sample("fwd", 3.0, retransmits=4, reordered=2, duplicate=1, unanswered=5),
        sample("fwd", 3.0, 2, retransmits=3, stolen=0.5, repeats=1),
        sample("fwd", 3.0, 3, load=0.5),
        sample("kernel", 1.0),
    )["fwd"]
    assert fwd.marked
    assert fwd.remarks == (
        "7 resent",
        "5 unanswered",
        "2 out of order",
        "1 twice",
        "1 repeated",
        "2 of 3 disturbed",
    )


def test_runs_with_distant_processors_are_told() -> None:
    found = summaries(
        *(sample("fwd", 3.0, apart=apart) for apart in (50, 310, 0, 300)),
        *(sample("kernel", 9.0, apart=apart) for apart in (90, 60, 100)),
    )
    assert found["fwd"].remarks == ("2 of 4 with processors 310 ns apart",)
    assert found["kernel"].remarks == ()
    assert found["kernel"].marked is False
    assert found["fwd"].marked
    moved = summaries(sample("fwd", 3.0, apart=300, moved=True), sample("kernel", 9.0, apart=300))
    assert moved["fwd"].remarks == ("1 of 1 disturbed",)


def test_underlays_are_not_mixed() -> None:
    off = Sample("off", "scenario", "fwd", 1, Outcome(values={"rate": 7.0}))
    found = summarize([sample("fwd", 3.0), off], [("scenario", RATE)], baseline="kernel")
    assert [(one.underlay, one.median) for one in found] == [("on", 3.0), ("off", 7.0)]


def test_order_is_told_of_all_that_arrived() -> None:
    found = order(
        [
            sample("fwd", 1.0, datagrams=100, reordered=1),
            sample("kernel", 1.0, datagrams=7),
            sample("fwd", 1.0, datagrams=50, duplicate=2),
        ]
    )
    assert found == [Order("fwd", 150, 1, 2), Order("kernel", 7, 0, 0)]
