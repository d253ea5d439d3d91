# SPDX-License-Identifier: Apache-2.0
"""How a result looks: tables for people, a document for machines.  Measures and decides nothing."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fwd.bench import results
from fwd.bench.machine import Agent, Machine
from fwd.bench.outcome import Metric
from fwd.bench.results import Summary
from fwd.bench.rounds import Measured
from fwd.lab.topology import Wiring

VERSION: Final = 4
"""Of the document: higher when something in it changes its meaning or goes."""

_WIRED: Final = {
    Wiring.VETH: "nodes that do not masquerade",
    Wiring.CNI: "nodes that masquerade and track connections",
}


class Result(Struct, frozen=True):
    """All there is to tell.

    Attributes:
        absent: contenders that could not be built, and why.
        offloads: by underlay setting, what ethtool says of the links.
        agents: by contender.
    """

    machine: Machine
    mtu: int
    families: tuple[int, ...]
    wiring: Wiring
    rounds: int
    baseline: str
    metrics: tuple[tuple[str, Metric], ...]
    measured: Measured
    absent: dict[str, str]
    offloads: dict[str, dict[str, str]]
    agents: dict[str, tuple[Agent, ...]]


def document(result: Result) -> dict[str, Any]:
    """The same for machines; units are the metrics'."""
    samples = result.measured.samples
    return {
        "version": VERSION,
        "machine": msgspec.to_builtins(result.machine),
        "mtu": result.mtu,
        "family": result.families[0],
        "wiring": result.wiring.value,
        "rounds": result.rounds,
        "baseline": result.baseline,
        "complete": result.measured.complete,
        "seconds": round(result.measured.seconds, 1),
        "absent": result.absent,
        "underlay": result.offloads,
        "agents": msgspec.to_builtins(result.agents),
        "metrics": [
            msgspec.to_builtins(metric) | {"scenario": scenario}
            for scenario, metric in result.metrics
        ],
        "summaries": msgspec.to_builtins(summaries(result)),
        "order": msgspec.to_builtins(results.order(samples)),
        "samples": [
            msgspec.to_builtins(sample) | {"disturbed": sample.disturbed} for sample in samples
        ],
    }


def tables(result: Result) -> Group:
    """The machine, a table for each underlay, and what must be said beside them."""
    return Group(*_parts(result))


def dumps(result: Result) -> str:
    """The document as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(document(result)), indent=2).decode()


def summaries(result: Result) -> list[Summary]:
    """Of each underlay, metric and contender."""
    return results.summarize(result.measured.samples, result.metrics, baseline=result.baseline)


def _parts(result: Result) -> Iterator[RenderableType]:
    yield from (Text(line) for line in _head(result))
    found = summaries(result)
    for underlay in dict.fromkeys(one.underlay for one in found):
        yield Text()
        yield _table(result, [one for one in found if one.underlay == underlay])
    yield from (Text(line) for line in _foot(result, found))


def _head(result: Result) -> Iterator[str]:
    machine = result.machine
    commit = f" ({machine.commit})" if machine.commit else ""
    yield f"{machine.time}  fwd {machine.fwd}{commit}, {machine.iperf3}, Python {machine.python}"
    yield f"{machine.cores} cores {machine.cpu}, {machine.memory_gib} GiB, Linux {machine.kernel}"
    yield (
        f"IPv{result.families[0]}, MTU {result.mtu} on the underlay, {_WIRED[result.wiring]},"
        f" TCP {machine.congestion_control},"
        f" medians of {result.rounds} interleaved round{'s' * (result.rounds != 1)}"
    )
    for name, agents in result.agents.items():
        for agent in agents:
            offloads = " ".join(agent.offloads) or "no offload"
            yield f"{name}, {agent.node}: {agent.workers} workers, {agent.rss_mib} MiB, {offloads}"


def title(result: Result, underlay: str) -> str:
    """What is true of all figures of an underlay."""
    shown = result.offloads.get(underlay, {})
    states = ", ".join(f"{name} {state}" for name, state in shown.items())
    return f"Segmentation offload {underlay} on the underlay ({states})"


def _table(result: Result, found: Sequence[Summary]) -> Table:
    table = Table(
        title=title(result, found[0].underlay),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("", overflow="fold")
    table.add_column("", overflow="fold")
    for column in ("median", "least", "most", f"to\n{result.baseline}"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("remarks")
    metrics = {metric.name: metric for _, metric in result.metrics}
    last = None
    for one in found:
        metric = metrics[one.metric]
        first = one.metric != last
        if first and last is not None:
            table.add_section()
        last = one.metric
        table.add_row(
            f"{metric.text}, {metric.unit}" if first else "",
            one.contender,
            *(_number(value, metric.digits) for value in (one.median, one.least, one.most)),
            _ratio(one),
            Text("; ".join(one.remarks)),  # not markup: there may be words of others in it
        )
    return table


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _ratio(summary: Summary) -> str:
    if summary.ratio is None:
        return "-"
    return f"{summary.ratio:.2f}{'*' if summary.marked else ' '}"


def _foot(result: Result, found: Sequence[Summary]) -> Iterator[str]:
    samples = result.measured.samples
    if any(one.marked for one in found):
        yield (
            f"* a run of this contender or of {result.baseline} lost, resent, repeated or was"
            " disturbed: see the remarks of both."
        )
    if not any(one.contender == result.baseline for one in found):
        yield f"{result.baseline} was not measured, so there are no ratios."
    for one in results.order(samples):
        if one.datagrams:
            twice = f", {one.duplicate} twice" if one.duplicate else ""
            yield (
                f"{one.contender}: {one.reordered} of {one.datagrams} datagrams out of order{twice}"
            )
    for name, why in result.absent.items():
        yield f"{name} is missing: {why}"
    disturbed = sum(sample.disturbed for sample in samples)
    if disturbed:
        yield (
            f"{disturbed} of {len(samples)} measurements were disturbed by other load, stolen time"
            " or moved processors: on a quiet machine the figures would differ."
        )
    if not result.measured.complete:
        yield "INCOMPLETE: the time limit ended it before every round was done."
    yield f"{len(samples)} measurements in {result.measured.seconds:.0f} s"
