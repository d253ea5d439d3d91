# SPDX-License-Identifier: Apache-2.0
"""docs/operations.md, the dashboard and the alerts against what there is to see."""

import json
import re
from pathlib import Path
from typing import Any

import yaml

from fwd.node.hostparts import OtherRules
from fwd.ops.metricnames import ALL_METRICS, TRAFFIC, Metric
from fwd.ops.report import drop_reasons
from fwd.plane import CounterKind, counter_info

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/operations.md"
DASHBOARD = ROOT / "deploy/monitoring/dashboard.json"
ALERTS = ROOT / "deploy/monitoring/alerts.yaml"

METRICS = {metric.name: metric for metric in ALL_METRICS}
_OF_PROMETHEUS = {
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
    "process_open_fds",
}
_OF_SCRAPING = {"up"}
_SELECTOR = re.compile(r"\b((?:fwd|process)_\w+|up\b)(?:\{([^}]*)\})?")
_MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
_GROUPING = re.compile(r"\b(?:by|without|on)\s*\(([^)]*)\)")
_FROM_SCRAPING = {"instance", "job"}


def first_cells(heading: str) -> list[str]:
    """Code names in the first column of the table below a heading."""
    section = PAGE.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    cells = (line.split("|")[1] for line in section.splitlines() if line.startswith("| `"))
    return [name for cell in cells for name in re.findall(r"`(\w+)`", cell)]


def test_every_metric_is_explained_and_no_other() -> None:
    assert first_cells("Metrics") == [metric.name for metric in ALL_METRICS]
    for metric in ALL_METRICS:
        assert f"| `{metric.name}` | {', '.join(metric.labels)} |" in PAGE.read_text()


def test_every_reason_has_a_remedy_and_no_other() -> None:
    assert first_cells("Reasons for drops") == [info.name for info in drop_reasons()]


def test_metrics_are_named_by_prometheus_rules() -> None:
    assert len(METRICS) == len(ALL_METRICS)
    for metric in ALL_METRICS:
        assert re.fullmatch(r"fwd_[a-z][a-z_]*[a-z]", metric.name)
        assert metric.name.endswith("_total") == (metric.kind == "counter")
        assert not metric.text.endswith(".")


def test_every_counter_of_the_data_plane_has_its_metric() -> None:
    traffic = {one.name for one in counter_info() if one.kind is CounterKind.TRAFFIC}
    assert set(TRAFFIC) == traffic


def expressions() -> list[str]:
    """All that the dashboard and the alerts ask Prometheus."""
    dashboard: dict[str, Any] = json.loads(DASHBOARD.read_text())
    found = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    return found + [rule["expr"] for group in groups for rule in group["rules"]]


def test_dashboard_and_alerts_ask_for_what_there_is() -> None:
    reasons = {info.name for info in drop_reasons()}
    for expression in expressions():
        selectors = _SELECTOR.findall(expression)
        assert selectors, expression
        labels: set[str] = set(_FROM_SCRAPING)
        for name, inside in selectors:
            assert name in {*METRICS, *_OF_PROMETHEUS, *_OF_SCRAPING}, expression
            known = METRICS.get(name, Metric(name, "", "")).labels
            labels.update(known)
            for label, _, value in _MATCHER.findall(inside):
                assert label in {*known, *_FROM_SCRAPING}, expression
                if label == "reason":
                    assert set(value.split("|")) <= reasons, expression
                if label == "part":
                    assert value == OtherRules.name, expression
        for inside in _GROUPING.findall(expression):
            assert {one.strip() for one in inside.split(",")} <= labels, expression


def test_dashboard_and_alerts_are_whole() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    numbers = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(numbers)) == len(numbers)
    assert all(panel["title"] and panel["targets"] for panel in dashboard["panels"])
    for group in yaml.safe_load(ALERTS.read_text())["groups"]:
        names = [rule["alert"] for rule in group["rules"]]
        assert len(set(names)) == len(names)
        for rule in group["rules"]:
            assert {"summary", "description"} == set(rule["annotations"])
            assert rule["labels"]["severity"] in {"critical", "warning", "info"}


def test_every_rate_is_of_a_counter() -> None:
    for expression in expressions():
        for name in re.findall(r"\b(?:rate|increase)\(((?:fwd|process)_\w+)", expression):
            assert name.endswith("_total"), expression
