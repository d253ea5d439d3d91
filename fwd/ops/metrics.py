# SPDX-License-Identifier: Apache-2.0
"""/metrics: the status document of the moment in Prometheus' text format.

prometheus-client makes the text, but for the series by peer: of those there are 25,000 in a cluster
of 5,000 nodes, and it would take ten times as long as plain text does.  It is imported at the first
scrape, because it takes 12 MB that an agent nobody scrapes has better uses for.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import TYPE_CHECKING

from fwd.ops import metricnames as names
from fwd.ops.metricnames import COUNTER, Metric
from fwd.ops.status import LeaseStatus, Status, TunnelStatus

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric as Family

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_Rows = Iterable[tuple[tuple[str, ...], float]]


class Metrics:
    """Answers scrapes."""

    def __init__(self, *, per_peer: bool) -> None:
        self._per_peer = per_peer
        self.is_ready: Callable[[], bool] = lambda: False
        self.look: Callable[[], Status] | None = None
        """Set once there is something to look at; until then there are the process's metrics."""

    def exposition(self) -> bytes:
        """The whole text."""
        status = self.look() if self.look is not None else None
        rows: list[tuple[Metric, _Rows]] = [(names.READY, [((), float(self.is_ready()))])]
        if status is not None:
            rows += _rows(status)
        text = _formatted(rows)
        if status is not None and self._per_peer:
            text += "".join(_peer_lines(status.leases)).encode()
        return text


def _formatted(rows: list[tuple[Metric, _Rows]]) -> bytes:
    from prometheus_client import CollectorRegistry, generate_latest  # noqa: PLC0415 - see above

    class Collector:
        def collect(self) -> Iterator["Family"]:
            return (_family(metric, found) for metric, found in rows)

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Collector())
    return generate_latest(_process()) + generate_latest(registry)


@cache
def _process() -> "CollectorRegistry":
    """process_*, of this process."""
    from prometheus_client import CollectorRegistry, ProcessCollector  # noqa: PLC0415 - see above

    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=registry)
    return registry


def _family(metric: Metric, rows: _Rows) -> "Family":
    from prometheus_client.core import (  # noqa: PLC0415 - see above
        CounterMetricFamily,
        GaugeMetricFamily,
    )

    kind = CounterMetricFamily if metric.kind == COUNTER else GaugeMetricFamily
    family = kind(metric.name, metric.text, labels=metric.labels)
    for labels, value in rows:
        family.add_metric(labels, value)
    return family


def _rows(status: Status) -> list[tuple[Metric, _Rows]]:
    tunnels = [(str(tunnel.family), tunnel) for tunnel in status.tunnels]
    source = status.source
    return [
        (names.BUILD, [((status.version, status.node), 1.0)]),
        (
            names.FORWARDING,
            [((family, one.device), float(one.forwarding)) for family, one in tunnels],
        ),
        (names.MTU, _each(tunnels, lambda one: one.mtu)),
        (names.WORKERS, _each(tunnels, lambda one: one.workers)),
        (names.RETIRED, _each(tunnels, lambda one: one.retired_tables)),
        (names.DIRECT, _each(tunnels, lambda one: one.direct_routes)),
        (names.OFFLOAD, list(_offloads(tunnels))),
        (names.LEASES, _leases(status)),
        (names.REFUSED, [((), float(len(status.refused)))]),
        (names.CURRENT, [((), float(source.leases_of == "source"))]),
        (names.LEASES_AGE, [((), source.leases_age_seconds)]),
        (names.SOURCE, [((source.kind, source.standing), 1.0)]),
        (names.TROUBLE, [((), float(status.trouble is not None))]),
        (names.HOST_PART, [((one.part,), float(one.trouble is None)) for one in status.host]),
        (names.REPAIRS, [((one.part,), float(one.repairs)) for one in status.host]),
        *_traffic(tunnels),
        (names.DROPS, list(_drops(tunnels))),
    ]


def _each(
    tunnels: Iterable[tuple[str, TunnelStatus]], value: Callable[[TunnelStatus], float]
) -> _Rows:
    return [((family,), float(value(tunnel))) for family, tunnel in tunnels]


def _leases(status: Status) -> _Rows:
    found = Counter(lease.family for lease in status.leases)
    return [((str(tunnel.family),), float(found[tunnel.family])) for tunnel in status.tunnels]


def _offloads(
    tunnels: Iterable[tuple[str, TunnelStatus]],
) -> Iterator[tuple[tuple[str, ...], float]]:
    for family, tunnel in tunnels:
        offloads = tunnel.offloads
        for name in sorted((*offloads.in_force, *offloads.fallen_back, *offloads.disabled)):
            yield (family, name), float(name in offloads.in_force)


def _traffic(tunnels: list[tuple[str, TunnelStatus]]) -> Iterator[tuple[Metric, _Rows]]:
    for counter, metric in names.TRAFFIC.items():
        yield metric, _each(tunnels, lambda one, counter=counter: one.counters.get(counter, 0))  # type: ignore[misc]


def _drops(tunnels: Iterable[tuple[str, TunnelStatus]]) -> Iterator[tuple[tuple[str, ...], float]]:
    for family, tunnel in tunnels:
        for reason, count in tunnel.counters.items():
            if reason not in names.TRAFFIC:
                yield (family, reason.partition("_")[0], reason), float(count)


def _peer_lines(leases: Iterable[LeaseStatus]) -> Iterator[str]:
    """In the form of prometheus-client, which a test compares."""
    told = [(_labels(lease), lease) for lease in leases]
    values: tuple[Callable[[LeaseStatus], float | None], ...] = (
        lambda lease: lease.out_packets,
        lambda lease: lease.out_bytes,
        lambda lease: lease.in_packets,
        lambda lease: lease.in_bytes,
        lambda lease: lease.heard_seconds,
    )
    for metric, value in zip(names.PEER_METRICS, values, strict=True):
        yield f"# HELP {metric.name} {metric.text}\n# TYPE {metric.name} {metric.kind}\n"
        for labels, lease in told:
            if (number := value(lease)) is not None:
                yield f"{metric.name}{labels} {float(number)!r}\n"


def _labels(lease: LeaseStatus) -> str:
    node = lease.node.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'{{family="{lease.family}",node="{node}"}}'
