# SPDX-License-Identifier: Apache-2.0
"""/metrics from a status document: what a parser makes of it, and that peers' lines are its own."""

from collections.abc import Iterator

import pytest
from msgspec.structs import replace
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.core import Metric as Family
from prometheus_client.parser import text_string_to_metric_families

from fwd.ops.metricnames import ALL_METRICS, PEER_METRICS
from fwd.ops.metrics import Metrics, _peer_lines
from fwd.ops.status import LeaseStatus
from fwd.plane import counter_info
from tests.unit.status_document import DOCUMENT, LEASE, TUNNEL

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def scrape(metrics: Metrics) -> Samples:
    """All samples, which the parser has found to be well-formed."""
    text = metrics.exposition().decode()
    families = list(text_string_to_metric_families(text))
    names = [family.name for family in families]
    assert len(set(names)) == len(names), "each is told once"
    assert all(family.documentation and family.type != "unknown" for family in families)
    found = [sample for family in families for sample in family.samples]
    samples = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value for sample in found
    }
    assert len(samples) == len(found)
    return samples


def metrics(*, per_peer: bool = True) -> Metrics:
    made = Metrics(per_peer=per_peer)
    counters = {info.name: index for index, info in enumerate(counter_info())}
    tunnel = replace(TUNNEL, counters=counters)
    made.look = lambda: replace(DOCUMENT, tunnels=(tunnel,))
    made.is_ready = lambda: True
    return made


def test_everything_that_is_named_is_told() -> None:
    told = {name for name, _ in scrape(metrics())}
    assert {metric.name for metric in ALL_METRICS} == {one for one in told if one[:4] == "fwd_"}
    assert "process_resident_memory_bytes" in told


def test_labels_are_those_that_are_named() -> None:
    named = {metric.name: set(metric.labels) for metric in ALL_METRICS}
    for name, labels in scrape(metrics()):
        if name in named:
            assert {label for label, _ in labels} == named[name]


def test_values_are_the_documents() -> None:
    samples = scrape(metrics())
    numbers = {info.name: index for index, info in enumerate(counter_info())}
    four = ("family", "4")
    assert samples["fwd_outbound_bytes_total", (four,)] == numbers["out_bytes"]
    drop = (("direction", "in"), four, ("reason", "in_ecn"))
    assert samples["fwd_dropped_packets_total", drop] == numbers["in_ecn"]
    assert samples["fwd_peer_transmit_bytes_total", (four, ("node", "n2"))] == LEASE.out_bytes
    assert samples["fwd_offload_in_force", (four, ("offload", "uso"))] == 0
    assert samples["fwd_offload_in_force", (four, ("offload", "tso"))] == 1
    assert samples["fwd_host_part_up", (("part", "conflist"),)] == 0
    assert samples["fwd_host_part_repairs_total", (("part", "rules"),)] == 2
    assert samples["fwd_refused_leases", ()] == 1


def test_series_by_peer_can_be_left_out() -> None:
    told = {name for name, _ in scrape(metrics(per_peer=False))}
    assert not told & {metric.name for metric in PEER_METRICS}
    assert "fwd_leases" in told


def test_before_there_is_anything_to_tell_the_process_is_told() -> None:
    samples = scrape(Metrics(per_peer=True))
    assert samples["fwd_ready", ()] == 0
    assert ("process_resident_memory_bytes", ()) in samples


ODD = replace(LEASE, node='a"b\\c\nd', family=6, heard_seconds=None, out_bytes=2**53)


class _Library:
    """The same series by prometheus-client."""

    def __init__(self, leases: list[LeaseStatus]) -> None:
        self._leases = leases

    def collect(self) -> Iterator[Family]:
        fields = ("out_packets", "out_bytes", "in_packets", "in_bytes", "heard_seconds")
        for metric, field in zip(PEER_METRICS, fields, strict=True):
            made = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
            family = made(metric.name, metric.text, labels=metric.labels)
            for lease in self._leases:
                value = getattr(lease, field)
                if value is not None:
                    family.add_metric([str(lease.family), lease.node], value)
            yield family


@pytest.mark.parametrize("leases", [[], [LEASE], [ODD], [LEASE, ODD]])
def test_series_by_peer_are_as_the_library_makes_them(leases: list[LeaseStatus]) -> None:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Library(leases))
    told = "".join(_peer_lines(leases))
    assert numbers_parsed(told) == numbers_parsed(generate_latest(registry).decode())


def numbers_parsed(text: str) -> list[tuple[str, float | str]]:
    """Lines; there are several ways to write a number."""
    parts = (line.rpartition(" ") for line in text.splitlines())
    return [(head, end if head.startswith("#") else float(end)) for head, _, end in parts]
