# SPDX-License-Identifier: Apache-2.0
"""/metrics: what there is to see at the moment in Prometheus' text format.

prometheus-client makes the text, but for the series by peer.  It is imported at the first scrape,
because it takes 12 MB that an agent nobody scrapes has better uses for.

The text is made in pieces of a tenth of a millisecond, and after each one the processor is offered
to whoever waits for it, as the scheduler knows no difference between this thread and a worker that
wakes up on its processor.  So the numbers of two peers are not of one moment.
"""

import asyncio
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Final, cast

from msgspec import Struct

from fwd.core.processortime import ProcessorTime
from fwd.model import Lease
from fwd.ops import metricnames as names
from fwd.ops.metricnames import COUNTER, Metric
from fwd.ops.peerseries import Carried, PeerSeries, cut
from fwd.ops.status import Status, TunnelStatus

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric as Family

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_METRICS_AT_ONCE: Final = 2
_TEXTS_AT_ONCE: Final = 8

_Rows = Iterable[tuple[tuple[str, ...], float]]


class Seen(Struct, frozen=True):
    """What a scrape looks at.

    Attributes:
        status: without leases.
        leases: in force.
        carried: for the series by peer.
    """

    status: Status
    leases: Sequence[Lease]
    carried: Carried


async def give_way() -> None:
    """To other threads on this processor, and to other tasks of this one."""
    os.sched_yield()
    await asyncio.sleep(0)


class Metrics:
    """Answers scrapes."""

    def __init__(self, *, per_peer: bool) -> None:
        self._peers = PeerSeries() if per_peer else None
        self.is_ready: Callable[[], bool] = lambda: False
        self.look: Callable[[], Seen] | None = None
        """Set once there is something to look at; until then there are the process's metrics."""

    async def exposition(self) -> list[bytes]:
        """The whole text, in pieces."""
        found = []
        async for piece in self._pieces():
            found.append(piece)
            await give_way()
        return found

    async def _pieces(self) -> AsyncIterator[bytes]:
        seen = self.look() if self.look is not None else None
        yield _process_text()
        rows: list[tuple[Metric, _Rows]] = [(names.READY, [((), float(self.is_ready()))])]
        if seen is not None:
            rows += _rows(seen)
        for some in cut(rows, _METRICS_AT_ONCE):
            yield _formatted(some)
        if seen is None or self._peers is None:
            return
        columns: list[list[bytes]] = [[] for _ in names.PEER_METRICS]
        for texts in self._peers.read(seen.leases, seen.carried, time.monotonic):
            for column, text in zip(columns, texts, strict=True):
                column.append(text)
            yield b""
        for metric, column in zip(names.PEER_METRICS, columns, strict=True):
            yield _head(metric).encode()
            for some_texts in cut(column, _TEXTS_AT_ONCE):
                yield b"".join(some_texts)


class _Families:
    """What generate_latest() asks a registry for."""

    def __init__(self, rows: Iterable[tuple[Metric, _Rows]]) -> None:
        self._rows = rows

    def collect(self) -> Iterator["Family"]:
        return (_family(metric, found) for metric, found in self._rows)


def _formatted(rows: Iterable[tuple[Metric, _Rows]]) -> bytes:
    from prometheus_client import generate_latest  # noqa: PLC0415 - see above

    return generate_latest(cast("CollectorRegistry", _Families(rows)))


def _process_text() -> bytes:
    from prometheus_client import generate_latest  # noqa: PLC0415 - see above

    return generate_latest(_process())


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


def _rows(seen: Seen) -> list[tuple[Metric, _Rows]]:
    status = seen.status
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
        (names.WORKER_RAN, list(_workers(tunnels, lambda one: one.ran_seconds))),
        (names.WORKER_WAITED, list(_workers(tunnels, lambda one: one.waited_seconds))),
        (names.RETIRED, _each(tunnels, lambda one: one.retired_tables)),
        (names.DIRECT, _each(tunnels, lambda one: one.direct_routes)),
        (names.OFFLOAD, list(_offloads(tunnels))),
        (names.LEASES, _leases(seen)),
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


def _workers(
    tunnels: Iterable[tuple[str, TunnelStatus]], value: Callable[[ProcessorTime], float]
) -> Iterator[tuple[tuple[str, ...], float]]:
    for family, tunnel in tunnels:
        for worker, spent in enumerate(tunnel.worker_times):
            if spent is not None:
                yield (family, str(worker)), value(spent)


def _leases(seen: Seen) -> _Rows:
    families = [tunnel.family for tunnel in seen.status.tunnels]
    if len(families) == 1:  # a count of thousands takes a millisecond
        return [((str(families[0]),), float(len(seen.leases)))]
    found = Counter(lease.family for lease in seen.leases)
    return [((str(family),), float(found[family])) for family in families]


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


def _head(metric: Metric) -> str:
    return f"# HELP {metric.name} {metric.text}\n# TYPE {metric.name} {metric.kind}\n"
