# SPDX-License-Identifier: Apache-2.0
"""Figures as bars, in SVG: the only module that knows matplotlib, the extra ``[bench]``."""

import io
from collections.abc import Sequence
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fwd.bench.outcome import Metric
from fwd.bench.results import Summary

_COLUMNS: Final = 3
_WIDTH: Final = 4.2  # inches of a plot
_BAR: Final = 0.28
_FRAME: Final = 0.75
_BASELINE: Final = "#9aa0a6"
_OTHERS: Final = "#2a6fbb"
# Text stays text, and one result makes one file, byte for byte.
_STYLE: Final[Any] = {"svg.fonttype": "none", "svg.hashsalt": "fwd", "font.size": 9}


def svg(summaries: Sequence[Summary], metrics: Sequence[Metric], *, baseline: str) -> str:
    """One plot for each metric that has a figure, as one ``<svg>`` element; empty without any.

    A bar is a median, the line over it reaches from the least to the most of all rounds, and the
    dotted line is the baseline.
    """
    found = [
        (metric, own)
        for metric in metrics
        if (
            own := [
                one for one in summaries if one.metric == metric.name and one.median is not None
            ]
        )
    ]
    if not found:
        return ""
    rows = -(-len(found) // _COLUMNS)
    most = max(len(own) for _, own in found)
    with mpl.rc_context(_STYLE):
        figure = Figure(
            figsize=(_WIDTH * _COLUMNS, (most * _BAR + _FRAME) * rows), layout="constrained"
        )
        places = figure.subplots(rows, _COLUMNS, squeeze=False).flat
        # In this order: a place that is taken when nothing is found any more would be lost.
        for (metric, own), place in zip(found, places, strict=False):
            _bars(place, metric, own, baseline=baseline)
        for place in places:  # those left over
            place.set_axis_off()
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None})
    text = file.getvalue()
    return text[text.index("<svg") :]


def _bars(place: Axes, metric: Metric, own: Sequence[Summary], *, baseline: str) -> None:
    names = [one.contender for one in own]
    medians = [one.median or 0.0 for one in own]
    spread = [
        [median - (one.least or 0.0) for median, one in zip(medians, own, strict=True)],
        [(one.most or 0.0) - median for median, one in zip(medians, own, strict=True)],
    ]
    colours = [_BASELINE if name == baseline else _OTHERS for name in names]
    place.barh(names, medians, xerr=spread, color=colours, ecolor="black", capsize=2)
    if baseline in names:
        place.axvline(medians[names.index(baseline)], color=_BASELINE, linestyle=":")
    place.invert_yaxis()  # in the order of the tables
    better = "" if metric.more else " (less is better)"
    place.set_title(f"{metric.text}, {metric.unit}{better}", loc="left")
    place.spines[["top", "right"]].set_visible(False)
