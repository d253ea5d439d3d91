# SPDX-License-Identifier: Apache-2.0
"""How results look: rich tables for people, JSON for machines.  Measures and decides nothing."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec
from rich import box
from rich.table import Table
from rich.text import Text

from fwd.lab.episode import LIMIT, Episode
from fwd.lab.matrix import End, Matrix, Measured
from fwd.lab.probes import Stream
from fwd.lab.state import Phase
from fwd.lab.survey import LabStatus, LinkStatus, NodeStatus, PodStatus
from fwd.lab.topology import NodeKind

_PLANES: Final = {NodeKind.FWD: "fwd", NodeKind.KERNEL: "kernel", NodeKind.BARE: "none"}


def matrix_table(results: Sequence[Measured]) -> Table:
    """One row for each pair: loss, round trip, Gbit/s each way, and what is wrong."""
    table = _table("Every Pod from every Pod and every node; TCP in Gbit/s")
    table.add_column("IP")
    table.add_column("from", no_wrap=True)
    table.add_column("to", no_wrap=True)
    table.add_column("loss", justify="right")
    table.add_column("round\ntrip", justify="right")
    table.add_column("TCP\nthere", justify="right")
    table.add_column("TCP\nback", justify="right")
    table.add_column("UDP\nloss", justify="right")
    table.add_column("")
    last = None
    for measured in results:
        if last is not None and _group(measured) != last:
            table.add_section()
        last = _group(measured)
        ping, problems = measured.ping, measured.problems
        table.add_row(
            str(measured.pair.family),
            _end(measured.pair.source),
            _end(measured.pair.target),
            "-" if ping is None else f"{ping.loss_percent:.0f} %",
            "-" if ping is None or ping.rtt_ms is None else f"{ping.rtt_ms:.2f} ms",
            _gbit(measured.tcp),
            _gbit(measured.tcp_back),
            _lost(measured.udp),
            Text("; ".join(problems), style="red") if problems else Text("ok", style="green"),
        )
    return table


def matrix_summary(matrix: Matrix) -> str:
    """One line: how many pairs are fine."""
    results = matrix.pairs
    if not results:
        return "nothing to measure: a pair needs two nodes"
    bad = sum(1 for measured in results if measured.problems)
    verdict = f"{bad} of {len(results)} pairs fail" if bad else f"all {len(results)} pairs are fine"
    return f"{verdict} ({matrix.seconds:.0f} s)"


def document(matrix: Matrix, episode: Episode | None) -> dict[str, Any]:
    """A test, or a demo, for machines; units are in the names."""
    found: dict[str, Any] = {
        "ok": matrix.well and not (episode and episode.problems),
        "seconds": round(matrix.seconds, 1),
        "pairs": [
            msgspec.to_builtins(measured)
            | {
                "loss_percent": None if measured.ping is None else measured.ping.loss_percent,
                "problems": list(measured.problems),
            }
            for measured in matrix.pairs
        ],
    }
    if episode is not None:
        found["episode"] = msgspec.to_builtins(episode) | {"problems": list(episode.problems)}
    return found


def episode_lines(episode: Episode) -> Iterator[Text]:
    """What came of a node that joined and left, each line with its time."""
    new, (one, other) = f"{episode.joined} ({_PLANES[episode.kind]})", episode.between
    yield Text(f"{new} joined and left while TCP flowed between {one} and {other}")
    for observer, seconds in episode.reachable.items():
        yield _took(f"lease published to first reply at {observer}", seconds)
    for observer, seconds in episode.gone.items():
        yield _took(f'node deleted to "unreachable" at {observer}', seconds)
    flow = episode.flow
    what = "TCP: longest wait for an answer" + (f" of {flow.answers}" if flow else "")
    yield _took(what, None if flow is None else flow.longest)
    problems = "; ".join(episode.problems)
    yield Text(problems, style="red") if problems else Text("TCP never stopped; all in time")


def _took(what: str, seconds: float | None) -> Text:
    late = seconds is None or seconds > LIMIT
    time = "never" if seconds is None else f"{seconds * 1000:.0f} ms"
    return Text(f"  {what:<48} {time:>8}", style="red" if late else "")


def status_table(status: LabStatus) -> Table:
    """One row for each node."""
    half = ", half-built" if status.phase is Phase.BUILDING else ""
    title = f"Lab {status.prefix}{half}, underlay MTU {status.mtu}"
    if status.api is not None:
        title += f", {status.api.title} {status.api.url}{'' if status.api.alive else ' ENDED'}"
    table = _table(title)
    for column in ("node", "data plane", "address", "links", "agent", "Pods"):
        table.add_column(column)
    for node in status.nodes:
        table.add_row(
            Text(node.name, style="green" if node.well else "red"),
            _PLANES[node.kind],
            "\n".join(node.address),
            Text("\n").join(_link(link) for link in node.links),
            _agent(node),
            Text("\n").join(_pod(pod) for pod in node.pods),
        )
    return table


def status_document(status: LabStatus) -> dict[str, Any]:
    """The same for machines; each agent's own document is under ``agent.said``."""
    document: dict[str, Any] = msgspec.to_builtins(status)
    for node, shown in zip(status.nodes, document["nodes"], strict=True):
        shown["well"] = node.well
    return document | {"well": status.well}


def dumps(document: object) -> str:
    """A document as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode()


def _table(title: str) -> Table:
    # No lines between the columns: a matrix then fits a terminal of 80.
    return Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)


def _group(measured: Measured) -> tuple[int, bool]:
    return (measured.pair.family, measured.pair.source.pod)


def _end(end: End) -> str:
    return f"{end.name} ({_PLANES[end.kind]})"


def _gbit(stream: Stream | None) -> str:
    return "-" if stream is None or stream.error else f"{stream.gbit:.2f}"


def _lost(stream: Stream | None) -> str:
    if stream is None or stream.lost_percent is None:
        return "-"
    return f"{stream.lost_percent:.1f} %"


def _link(link: LinkStatus) -> Text:
    if link.up is None:
        return Text(f"{link.name} missing", style="red")
    return Text(f"{link.name} {'up' if link.up else 'DOWN'}", style="" if link.up else "red")


def _pod(pod: PodStatus) -> Text:
    shown = f"{pod.name} {' '.join(pod.addresses)}"
    if pod.link.up:
        return Text(shown)
    return Text(f"{shown} {'missing' if pod.link.up is None else 'DOWN'}", style="red")


def _agent(node: NodeStatus) -> Text:
    if node.agent is None:
        return Text("never started", style="red") if node.kind is NodeKind.FWD else Text("-")
    if not node.agent.alive:
        return Text(f"pid {node.agent.pid} ended", style="red")
    if node.kind is NodeKind.KERNEL:
        return Text(f"pid {node.agent.pid}, programs the kernel")
    if node.agent.said is None:
        return Text(f"pid {node.agent.pid}, gives no status", style="red")
    if not node.agent.forwards:
        trouble = node.agent.said.get("trouble") or "says no more"
        return Text(f"pid {node.agent.pid}, does not forward\n{trouble}", style="red")
    return Text(f"pid {node.agent.pid}, forwards")
