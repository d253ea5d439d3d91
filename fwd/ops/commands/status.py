# SPDX-License-Identifier: Apache-2.0
"""`fwd status`: the agent's document, for people or machines, once or as a live view."""

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from fwd.flags import UsageError
from fwd.ops import status, statustext
from fwd.ops.printable import printable
from fwd.ops.status import LeaseStatus, Status, TunnelStatus

WATCH_SECONDS = 1.0
_MOST_ROWS = 30
_PLAIN_WIDTH = 160
"""Of a picture in a pipe or a file, at least."""


def main(*, run_dir: Path, json: bool, peers: bool, watch: bool) -> int:
    """Raises FwdError where no agent answers."""
    if watch and peers and not json:
        raise UsageError("--peers is of one picture; --watch has those with the most traffic")
    if watch:
        with suppress(KeyboardInterrupt, BrokenPipeError):
            _watch(run_dir, json=json)
        return 0
    document = status.fetch(run_dir)
    if json:
        print(document.decode().rstrip())
    else:
        print(statustext.render(status.decode(document), all_peers=peers))
    return 0


def _watch(run_dir: Path, *, json: bool) -> None:
    """Live where pictures can be drawn over each other, else one below the other."""
    if json:
        for document in _documents(run_dir):
            print(document.decode().rstrip(), flush=True)
    console = Console()
    pictures = _pictures(run_dir)
    first = next(pictures)
    if not os.isatty(1) or console.is_dumb_terminal:
        _print(pictures, console)
    with Live(first, console=console, auto_refresh=False) as live:
        for picture in pictures:
            live.update(picture, refresh=True)


def _print(pictures: Iterator[Group], console: Console) -> None:
    """Not by rich's own print, which ends the program when the reader has gone."""
    if not os.isatty(1):
        console.width = max(console.width, _PLAIN_WIDTH)
    for picture in pictures:
        with console.capture() as caught:
            console.print(picture)
        print(caught.get(), flush=True)


def _documents(run_dir: Path) -> Iterator[bytes]:
    while True:
        yield status.fetch(run_dir)
        time.sleep(WATCH_SECONDS)


def _pictures(run_dir: Path) -> Iterator[Group]:
    """Rates are those between two documents; the first one has none."""
    before, then = None, 0.0
    for document in _documents(run_dir):
        now, at = status.decode(document), time.monotonic()
        yield view(before or now, now, seconds=at - then)
        before, then = now, at


def view(before: Status, now: Status, *, seconds: float) -> Group:
    """The screen: the node, its tunnels, its peers by rate, its drops."""
    source = now.source
    head = _text(
        f"{now.node}   {source.kind}: {source.standing}, {source.detail}   "
        f"{len(now.leases)} leases of {source.leases_of}"
    )
    parts: list[Text | Table] = [head]
    if now.trouble:
        parts.append(_text(now.trouble, style="red"))
    parts.append(_tunnels(before, now, seconds))
    parts.append(_peers(before, now, seconds))
    drops = _drops(before, now, seconds)
    if drops.row_count:
        parts.append(drops)
    return Group(*parts)


def _tunnels(before: Status, now: Status, seconds: float) -> Table:
    table = Table("tunnel", "state", "out", "in", "batches")
    was = {tunnel.family: tunnel for tunnel in before.tunnels}
    for tunnel in now.tunnels:
        state = Text("up") if tunnel.forwarding else Text("down", style="red")
        if tunnel.offloads.fallen_back:
            fallen_back = " ".join(tunnel.offloads.fallen_back)
            state.append_text(_text(f", without {fallen_back}", style="yellow"))
        old = was.get(tunnel.family, tunnel)
        table.add_row(
            _text(tunnel.device),
            state,
            _tunnel_rate(old, tunnel, "out_sent", "out_bytes", seconds),
            _tunnel_rate(old, tunnel, "in_written", "in_bytes", seconds),
            statustext.batches(tunnel.batches) or "-",
        )
    return table


def _text(written: str, style: str = "") -> Text:
    """As it is: a str would be markup to rich, and what others wrote may have brackets."""
    return Text(printable(written), style=style)


def _tunnel_rate(
    old: TunnelStatus, new: TunnelStatus, packets: str, octets: str, seconds: float
) -> str:
    return _rate(
        new.counters.get(packets, 0) - old.counters.get(packets, 0),
        new.counters.get(octets, 0) - old.counters.get(octets, 0),
        seconds,
    )


def _peers(before: Status, now: Status, seconds: float) -> Table:
    """Those that most goes to or comes from now, then by name."""
    table = Table("peer", "subnet", "out", "in", "heard")
    was = {(lease.node, lease.family): lease for lease in before.leases}

    def rates(lease: LeaseStatus) -> tuple[int, int, int, int]:
        old = was.get((lease.node, lease.family), lease)
        return (
            max(0, lease.out_packets - old.out_packets),
            max(0, lease.out_bytes - old.out_bytes),
            max(0, lease.in_packets - old.in_packets),
            max(0, lease.in_bytes - old.in_bytes),
        )

    found = [(rates(lease), lease) for lease in now.leases]
    found.sort(key=lambda one: (-one[0][1] - one[0][3], one[1].node, one[1].family))
    for (out_packets, out_bytes, in_packets, in_bytes), lease in found[:_MOST_ROWS]:
        table.add_row(
            _text(lease.node),
            _text(lease.subnet),
            _rate(out_packets, out_bytes, seconds),
            _rate(in_packets, in_bytes, seconds),
            statustext.heard(lease),
        )
    if len(found) > _MOST_ROWS:
        table.add_row(f"... {len(found) - _MOST_ROWS} more", "", "", "", "")
    return table


def _drops(before: Status, now: Status, seconds: float) -> Table:
    table = Table("drops", "total", "now", "because")
    was = {
        (tunnel.family, drop.reason): drop.count
        for tunnel in before.tunnels
        for drop in tunnel.drops
    }
    for tunnel in now.tunnels:
        for drop in tunnel.drops:
            grown = drop.count - was.get((tunnel.family, drop.reason), 0)
            style = "red" if grown else ""
            rate = Text(f"{grown / seconds:.0f}/s", style=style)
            reason = _text(f"{tunnel.device} {drop.reason}")
            table.add_row(reason, str(drop.count), rate, _text(drop.text))
    return table


def _rate(packets: int, octets: int, seconds: float) -> str:
    return f"{packets / seconds:,.0f} packets/s, {octets * 8 / seconds / 1e6:,.1f} Mbit/s"
