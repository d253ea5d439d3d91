# SPDX-License-Identifier: Apache-2.0
"""What is measured with each contender, one after the other.

A scenario yields an ``Outcome``: its figures by metric, and what went wrong or was lost on the way.
A scenario that fails is an outcome that says why, not an exception: the other contenders go on,
and ``results`` gives no ratio for it.
"""

import socket
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from msgspec import Struct, structs

from fwd.bench import beside, calls, search, traffic
from fwd.bench.contenders import Running
from fwd.bench.machine import CpuTimes, cpu_times
from fwd.bench.outcome import Metric, Outcome
from fwd.bench.traffic import Datagrams
from fwd.lab import probes
from fwd.lab.errors import LabError
from fwd.lab.probes import Direction, Stream

ALLOWED_LOSS: Final = 0.5  # per cent, in the search for the highest rate
_FLOOD_SIZE: Final = 64  # bytes of payload
_RTT_SIZE: Final = 64
_ORDER_FLOWS: Final = 8
_SENDERS: Final = (1, 2)


class Timing(Struct, frozen=True):
    """How long the parts of a scenario take, in seconds (a TCP stream: whole ones)."""

    tcp: int
    udp: float
    round_trips: float
    search_steps: int


class Scenario(Struct, frozen=True):
    """One thing to measure.

    Attributes:
        plain_too: worth measuring without segmentation offload on the underlay.
    """

    name: str
    metrics: tuple[Metric, ...]
    measure: Callable[[Running, Timing], Outcome]
    plain_too: bool = False


def _tcp(name: str, text: str, *, streams: int, direction: Direction) -> Scenario:
    gbit = Metric(name, text, "Gbit/s")
    cpu = Metric(f"{name}-cpu", f"{text}: CPU, whole system", "s/GB", more=False)

    def measure(running: Running, timing: Timing) -> Outcome:
        before = cpu_times()
        stream = probes.tcp(
            running.path(), seconds=timing.tcp, direction=direction, streams=streams
        )
        return _stream(stream, gbit, cpu, spent=cpu_times() - before)

    return Scenario(name, (gbit, cpu), measure, plain_too=True)


def _stream(stream: Stream, gbit: Metric, cpu: Metric, *, spent: CpuTimes) -> Outcome:
    if stream.error:
        return Outcome(error=stream.error)
    if stream.gbit <= 0 or not stream.received_bytes:
        return Outcome(error="nothing arrived")
    # Not the rate by the seconds that were asked for: the receiver's are others.
    share = spent.busy / (stream.received_bytes / 1e9)
    return Outcome(
        values={gbit.name: stream.gbit, cpu.name: share},
        retransmits=stream.retransmits or 0,
    )


def udp(size: int) -> Scenario:
    """Datagrams of a size: what arrives at saturation, and the highest rate with little loss."""
    name = f"udp{size}"
    least = Metric(f"{name}-clean", f"UDP {size} B, < {ALLOWED_LOSS} % loss", "kpps", digits=1)
    full = tuple(
        Metric(
            f"{name}-full{count}",
            f"UDP {size} B, saturated, {count} sender{'s' * (count > 1)}",
            "kpps",
            digits=1,
        )
        for count in _SENDERS
    )

    def measure(running: Running, timing: Timing) -> Outcome:
        def trial(*, senders: int = 1, rate: int = 0) -> Datagrams:
            done = traffic.datagrams(
                running.path(), size=size, seconds=timing.udp, senders=senders, rate=rate
            )
            trials.append(done)
            return done

        trials: list[Datagrams] = []
        saturated = [trial(senders=count) for count in _SENDERS]
        best = search.highest(
            lambda rate: trial(rate=rate),
            unpaced=saturated[0],
            allowed_percent=ALLOWED_LOSS,
            steps=timing.search_steps,
        )
        found = dict(zip((metric.name for metric in full), saturated, strict=True))
        error = None
        if best:
            found[least.name] = best
        else:
            error = f"no rate with less than {ALLOWED_LOSS} % loss in {timing.search_steps} trials"
        if not all(one.received for one in saturated):
            return _counted(trials, {}, error="nothing arrived")
        return _counted(trials, found, error=error)

    return Scenario(name, (*full, least), measure)


def _counted(
    trials: Iterable[Datagrams], found: dict[str, Datagrams], *, error: str | None
) -> Outcome:
    trials = tuple(trials)
    return Outcome(
        values={name: one.arrival_rate / 1e3 for name, one in found.items()},
        error=error,
        loss_percent={name: one.loss_percent for name, one in found.items()},
        datagrams=sum(one.received for one in trials),
        reordered=sum(one.reordered for one in trials),
        duplicate=sum(one.duplicate for one in trials),
    )


def _round_trips(name: str, text: str, kind: socket.SocketKind) -> Scenario:
    shares = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}
    metrics = tuple(
        Metric(f"{name}-{key}", f"{text} {key}", "us", more=False, digits=1) for key in shares
    )

    def measure(running: Running, timing: Timing) -> Outcome:
        done = traffic.round_trips(
            running.path(), kind=kind, size=_RTT_SIZE, seconds=timing.round_trips
        )
        if not done.ns:
            return Outcome(error="no answer", unanswered=done.lost)
        values = {f"{name}-{key}": done.percentile(share) for key, share in shares.items()}
        return Outcome(values=values, unanswered=done.lost)

    return Scenario(name, metrics, measure)


def _connections(running: Running, timing: Timing) -> Outcome:
    rate = calls.connections(running.path(), seconds=timing.round_trips)
    return Outcome(values={"connect": rate / 1e3})


def _flood(running: Running, timing: Timing) -> Outcome:
    """TCP of the second Pods beside a flood of small packets of the first ones."""
    found = beside.measure(running.path(1), running.path(2), size=_FLOOD_SIZE, seconds=timing.tcp)
    stream = found.stream
    if stream.error or stream.gbit <= 0:
        return Outcome(error=stream.error or "nothing arrived")
    if found.beside is None:
        return Outcome(error="the stream was too short to see the flood beside it")
    counted = _counted([found.flood], {"flood-udp": found.beside}, error=None)
    return structs.replace(
        counted,
        values=counted.values | {"flood": stream.gbit},
        retransmits=stream.retransmits or 0,
    )


def _order(running: Running, timing: Timing) -> Outcome:
    """Flows both ways at once, so that replies have a say in where a flow goes."""
    shape = {"size": _FLOOD_SIZE, "seconds": timing.tcp, "flows": _ORDER_FLOWS}
    with (
        traffic.flowing(running.path(), **shape) as there,
        traffic.flowing(running.back(), **shape) as back,
    ):
        there.wait()
        back.wait()
    trials = [there.so_far(), back.so_far()]
    counted = _counted(trials, {}, error=None)
    if not all(one.received for one in trials):
        return Outcome(error="nothing arrived")
    late = 1e6 * counted.reordered / counted.datagrams
    return structs.replace(counted, values={"order": late})


_OTHERS: Final = (
    _tcp("tcp1", "TCP, 1 stream", streams=1, direction=Direction.THERE),
    _tcp("tcp1-back", "TCP, 1 stream back", streams=1, direction=Direction.BACK),
    _tcp("tcp4", "TCP, 4 streams", streams=4, direction=Direction.THERE),
    _tcp("tcp4-back", "TCP, 4 streams back", streams=4, direction=Direction.BACK),
    _round_trips("rr-udp", "UDP round trip", socket.SOCK_DGRAM),
    _round_trips("rr-tcp", "TCP round trip", socket.SOCK_STREAM),
    Scenario("connect", (Metric("connect", "TCP connections", "1000/s"),), _connections),
    Scenario(
        "flood",
        (
            Metric("flood", f"TCP beside a flood of {_FLOOD_SIZE} B", "Gbit/s"),
            Metric("flood-udp", "... and what arrives of the flood", "kpps", digits=1),
        ),
        _flood,
    ),
    Scenario(
        "order",
        (Metric("order", f"out of order, {_ORDER_FLOWS} flows each way", "ppm", more=False),),
        _order,
    ),
)
UDP: Final = "udp"
NAMES: Final = (*(one.name for one in _OTHERS), UDP)


def chosen(names: Sequence[str], *, udp_sizes: Sequence[int]) -> tuple[Scenario, ...]:
    """Scenarios by their names, in that order; ``udp`` is one for each size."""
    known: dict[str, tuple[Scenario, ...]] = {one.name: (one,) for one in _OTHERS}
    known[UDP] = tuple(udp(size) for size in udp_sizes)
    return tuple(scenario for name in names for scenario in known[name])


def attempt(scenario: Scenario, running: Running, timing: Timing) -> Outcome:
    """Measure; whatever fails is the outcome's error, with what became of agents that ended."""
    try:
        outcome = scenario.measure(running, timing)
    except (LabError, OSError, ValueError) as error:
        outcome = Outcome(error=str(error))
    if outcome.error is None:
        return outcome
    why = "; ".join((outcome.error, *running.ended()))
    return structs.replace(outcome, error=why)
