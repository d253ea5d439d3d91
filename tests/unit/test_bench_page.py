# SPDX-License-Identifier: Apache-2.0
"""The page that `fwd bench --html` writes: whole, with every figure, and nothing from elsewhere."""

from html.parser import HTMLParser
from typing import Any

import pytest

from fwd.bench import arguments, page, plots
from fwd.bench.machine import Machine
from fwd.bench.outcome import Metric, Outcome, Sample
from fwd.bench.report import Result
from fwd.bench.rounds import Measured
from fwd.lab.topology import Wiring

RATE = Metric("rate", "a rate <&>", "kpps")
TIME = Metric("time", "a time", "us", more=False)


def sample(contender: str, number: int, **values: float) -> Sample:
    return Sample("on", "scenario", contender, number, Outcome(values=values))


def result(*samples: Sample, metrics: tuple[Metric, ...] = (RATE, TIME)) -> Result:
    return Result(
        machine=Machine(
            time="2026-01-02T03:04:05+00:00",
            cores=2,
            cpu="<cpu>",
            kernel="6.1",
            memory_gib=1.0,
            python="3.11",
            fwd="0",
            commit=None,
            iperf3="3",
            congestion_control="cubic",
        ),
        mtu=1500,
        families=(4,),
        wiring=Wiring.VETH,
        rounds=2,
        baseline="kernel",
        metrics=tuple(("scenario", metric) for metric in metrics),
        measured=Measured(samples, complete=True, seconds=1.0),
        absent={},
        offloads={"on": {"tso": "on"}},
        agents={},
    )


class Reader(HTMLParser):
    """Tags that are open, the text by tag, and what would be fetched."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: dict[str, str] = {}
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, Any]]) -> None:
        if tag not in ("meta", "br"):
            self.open.append(tag)
        names = ("src", "href", "xlink:href")
        self.fetched += [value for name, value in attrs if name in names and value[:1] != "#"]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, Any]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_data(self, data: str) -> None:
        for tag in set(self.open):
            self.text[tag] = self.text.get(tag, "") + data


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    reader.close()
    assert reader.open == []
    assert reader.fetched == []
    return reader


TWO = (
    sample("fwd", 1, rate=1, time=3),
    sample("kernel", 1, rate=2, time=2),
    sample("fwd", 2, rate=3, time=5),
    sample("kernel", 2, rate=2, time=2),
)


def test_plots_and_tables_are_there() -> None:
    read_back = read(page.render(result(*TWO)))
    for words in ("a rate <&>, kpps", "a time, us (less is better)", "fwd", "kernel"):
        assert words in read_back.text["svg"]
    for words in ("a rate <&>, kpps", "kernel", "MTU 1500", "<cpu>", "1.00"):
        assert words in read_back.text["pre"]
    assert "Segmentation offload on" in read_back.text["h2"]


def test_the_same_result_makes_the_same_page() -> None:
    assert page.render(result(*TWO)) == page.render(result(*TWO))


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_there_is_no_frame_without_a_plot(count: int) -> None:
    metrics = tuple(Metric(f"m{number}", f"metric {number}", "us") for number in range(count))
    values = {metric.name: 1.0 for metric in metrics}
    both = (sample("fwd", 1, **values), sample("kernel", 1, **values))
    text = page.render(result(*both, metrics=metrics))
    assert text.count('<g id="matplotlib.axis_') == 2 * count


def test_what_has_no_figure_has_no_plot() -> None:
    failed = result(sample("fwd", 1, time=3), sample("kernel", 1, time=2))
    assert "a rate" not in read(page.render(failed)).text["svg"]
    assert plots.svg([], [RATE], baseline="kernel") == ""
    nothing = result(sample("fwd", 1))
    assert "svg" not in read(page.render(nothing)).text


def test_without_matplotlib_it_is_said_before_measuring(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(SystemExit):
        arguments.parse(["--html=x.html"])
    assert "pip install '.[bench]' in fwd's source directory" in capsys.readouterr().err
