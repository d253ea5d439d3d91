# SPDX-License-Identifier: Apache-2.0
"""/metrics from a status document: what a parser makes of it, and that peers' lines are its own."""

import asyncio
from collections.abc import Iterator, Sequence
from ipaddress import ip_address, ip_network

import pytest
from msgspec.structs import replace
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.core import Metric as Family
from prometheus_client.parser import text_string_to_metric_families

from fwd.model import Lease
from fwd.ops.metricnames import ALL_METRICS, PEER_METRICS
from fwd.ops.metrics import Metrics, Seen, _head
from fwd.ops.peerseries import PeerSeries
from fwd.plane import PeerTraffic, counter_info
from tests.unit.status_document import DOCUMENT, TUNNEL

LEASE = Lease(
    node="n2",
    subnet=ip_network("10.244.2.0/24"),
    public_ip=ip_address("192.168.50.2"),
    vtep_mac=b"\2\0\0\0\0\2",
    vni=1,
)
CARRIED = PeerTraffic(3, 300, 2, 200, 7500)
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def scrape(metrics: Metrics) -> Samples:
    """All samples, which the parser has found to be well-formed."""
    text = b"".join(asyncio.run(metrics.exposition())).decode()
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


def metrics(leases: Sequence[Lease] = (LEASE,), *, per_peer: bool = True) -> Metrics:
    made = Metrics(per_peer=per_peer)
    counters = {info.name: index for index, info in enumerate(counter_info())}
    status = replace(DOCUMENT, leases=(), tunnels=(replace(TUNNEL, counters=counters),))
    made.look = lambda: Seen(status, leases, lambda _, group: [CARRIED] * len(group.peers))
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
    assert samples["fwd_peer_transmit_bytes_total", (four, ("node", "n2"))] == CARRIED.out_bytes
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


def test_in_pieces_each_peer_is_told_once() -> None:
    leases = [replace(LEASE, node=f"n{number}") for number in range(1001)]
    samples = scrape(metrics(leases))
    told = [labels for name, labels in samples if name == "fwd_peer_receive_packets_total"]
    assert len(told) == len(leases)
    assert samples["fwd_leases", (("family", "4"),)] == len(leases)


ODD = replace(
    LEASE, node='a"b\\c\nd%d', subnet=ip_network("fd00::/64"), public_ip=ip_address("fd02::2")
)
NEVER = replace(CARRIED, heard_ms=0, out_bytes=2**53)
NOW = 9.0


class _Library:
    """The same series by prometheus-client."""

    def __init__(self, peers: list[tuple[Lease, PeerTraffic]]) -> None:
        self._peers = peers

    def collect(self) -> Iterator[Family]:
        fields = ("out_packets", "out_bytes", "in_packets", "in_bytes", "heard_ms")
        for metric, field in zip(PEER_METRICS, fields, strict=True):
            made = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
            family = made(metric.name, metric.text, labels=metric.labels)
            for lease, carried in self._peers:
                value = getattr(carried, field)
                if field == "heard_ms":
                    value = value and NOW - value / 1000
                if value or field != "heard_ms":
                    family.add_metric([str(lease.family), lease.node], value)
            yield family


@pytest.mark.parametrize(
    "peers", [[], [(LEASE, CARRIED)], [(ODD, NEVER)], [(LEASE, CARRIED), (ODD, NEVER)]]
)
def test_series_by_peer_are_as_the_library_makes_them(
    peers: list[tuple[Lease, PeerTraffic]],
) -> None:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Library(peers))
    traffic = {lease.public_ip: carried for lease, carried in peers}
    pieces = PeerSeries().read(
        [lease for lease, _ in peers],
        lambda _, group: [traffic[peer] for peer in group.peers],
        lambda: NOW,
    )
    columns = [b"".join(column).decode() for column in zip(*pieces, strict=True)] or [""] * 5
    told = "".join(
        _head(metric) + lines for metric, lines in zip(PEER_METRICS, columns, strict=True)
    )
    assert numbers_parsed(told) == numbers_parsed(generate_latest(registry).decode())


def numbers_parsed(text: str) -> list[tuple[str, float | str]]:
    """Lines; there are several ways to write a number."""
    parts = (line.rpartition(" ") for line in text.splitlines())
    return [(head, end if head.startswith("#") else float(end)) for head, _, end in parts]


def test_each_scrape_tells_the_leases_of_its_moment() -> None:
    leases: list[Lease] = []
    made = metrics()
    seen = made.look
    assert seen is not None
    made.look = lambda: replace(seen(), leases=tuple(leases))
    other = replace(LEASE, node="n3")
    for leases[:] in ([LEASE], [LEASE], [other, ODD], [], [LEASE, other]):
        told = [dict(labels) for name, labels in scrape(made) if name == PEER_METRICS[0].name]
        assert told == [{"family": str(one.family), "node": one.node} for one in leases]


def test_a_scrape_that_is_not_read_to_its_end_leaves_nothing_behind() -> None:
    leases = [replace(LEASE, node=f"n{number}") for number in range(1001)]
    series = PeerSeries()
    carried = lambda _, group: [CARRIED] * len(group.peers)  # noqa: E731
    next(series.read(leases, carried, lambda: NOW))
    told = b"".join(piece[0] for piece in series.read(leases, carried, lambda: NOW))
    assert told.count(b"\n") == len(leases)
