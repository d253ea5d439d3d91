# SPDX-License-Identifier: Apache-2.0
"""The status document for people."""

from collections.abc import Iterable

from fwd.model import IPV4
from fwd.ops.printable import printable
from fwd.ops.status import BatchStatus, HostStatus, LeaseStatus, Status, TunnelStatus

FEW_PEERS = 20
"""As many as are shown unasked."""
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def render(status: Status, *, all_peers: bool = False) -> str:
    """The document for people.  Counters that are zero are left out, and most of many peers."""
    rows = [
        ("node", status.node),
        ("trouble", status.trouble or "none"),
        ("source", f"{status.source.kind}: {status.source.standing}, {status.source.detail}"),
        ("leases", _leases(status)),
        *(_host_row(one) for one in status.host),
        ("source check", status.source_check),
        ("system calls", status.system_calls),
    ]
    for tunnel in status.tunnels:
        rows += _tunnel_rows(tunnel, vni=status.vni, port=status.port)
    width = max(len(name) for name, _ in rows)
    lines = [f"{name:<{width}}  {value}" for name, value in rows]
    lines += _peers(status.leases, all_peers=all_peers)
    lines += [f"refused {one.node}: {one.reason}" for one in status.refused]
    lines += [
        f"drop {drop.count:>12}  {tunnel.device}  {drop.reason}: {drop.text}"
        for tunnel in status.tunnels
        for drop in tunnel.drops
    ]
    return "\n".join(map(printable, lines))


def _leases(status: Status) -> str:
    since = duration(status.source.leases_age_seconds)
    return f"{len(status.leases)} of {status.source.leases_of}, in force for {since}"


def _tunnel_rows(tunnel: TunnelStatus, *, vni: int, port: int) -> list[tuple[str, str]]:
    public_ip = tunnel.public_ip if tunnel.family == IPV4 else f"[{tunnel.public_ip}]"
    reasons = {drop.reason for drop in tunnel.drops}
    return [
        ("device", f"{tunnel.device}  mtu {tunnel.mtu}  vni {vni}"),
        ("  subnet", tunnel.subnet),
        ("  vtep", f"{public_ip}:{port} on {tunnel.underlay}  {tunnel.vtep_mac}"),
        ("  state", "forwarding" if tunnel.forwarding else "down, being made anew"),
        ("  direct routes", str(tunnel.direct_routes)),
        ("  workers", _workers(tunnel)),
        ("  offloads", " ".join(tunnel.offloads.in_force) or "none"),
        ("    fallen back", " ".join(tunnel.offloads.fallen_back) or "none"),
        ("    disabled", " ".join(tunnel.offloads.disabled) or "none"),
        ("  retired tables", str(tunnel.retired_tables)),
        ("  batches", batches(tunnel.batches)),
        *(
            (f"  {name}", str(count))
            for name, count in tunnel.counters.items()
            if count and name not in reasons
        ),
    ]


def _workers(tunnel: TunnelStatus) -> str:
    times = [one for one in tunnel.worker_times if one is not None]
    if not times:
        return str(tunnel.workers)
    ran = duration(sum(one.ran_seconds for one in times))
    waited = duration(sum(one.waited_seconds for one in times))
    return f"{tunnel.workers}, ran for {ran}, waited for a processor for {waited}"


def _host_row(host: HostStatus) -> tuple[str, str]:
    text = host.state if host.trouble is None else f"{host.state}; trouble: {host.trouble}"
    if host.last_repair is not None:
        text += f"; repaired {host.repairs} times, last {host.last_repair}"
    return host.part, text


def _peers(leases: Iterable[LeaseStatus], *, all_peers: bool) -> list[str]:
    """A table, the busiest first."""
    found = sorted(leases, key=lambda one: (-one.out_bytes - one.in_bytes, one.node, one.family))
    shown = found if all_peers else found[:FEW_PEERS]
    head = ("peer", "subnet", "public-ip", "age", "out", "in", "heard")
    rows = [head, *map(_peer, shown)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows] if shown else []
    if len(shown) < len(found):
        lines.append(f"... and {len(found) - len(shown)} peers more: --peers shows all")
    return lines


def _peer(lease: LeaseStatus) -> tuple[str, ...]:
    return (
        printable(lease.node),  # here already, as columns are as wide as what is shown
        lease.subnet,
        lease.public_ip,
        duration(lease.age_seconds),
        f"{lease.out_packets} packets {amount(lease.out_bytes)}",
        f"{lease.in_packets} packets {amount(lease.in_bytes)}",
        heard(lease),
    )


def heard(lease: LeaseStatus) -> str:
    """When a peer was last heard."""
    return "never" if lease.heard_seconds is None else f"{duration(lease.heard_seconds)} ago"


def batches(found: BatchStatus) -> str:
    """How many packets the kernel moves at a time."""
    parts = (
        ("a TUN read", found.packets_per_read),
        ("a send", found.segments_per_send),
        ("a receive", found.packets_per_receive),
        ("a TUN write", found.segments_per_write),
    )
    return ", ".join(f"{value:.1f} packets {name}" for name, value in parts if value is not None)


def duration(seconds: float) -> str:
    """`0.4s`, `12s`, `7m`, `3h`, `2d`: as much as one wants to know."""
    if seconds < 10:
        return f"{seconds:.1f}s"
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:.0f}s"


def amount(value: float) -> str:
    """Bytes with a unit."""
    for unit in _UNITS[:-1]:
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} {_UNITS[-1]}"
