# SPDX-License-Identifier: Apache-2.0
"""Fills in the status document from a running agent's parts; `ops.status` says what it means."""

import time
from collections.abc import Iterable, Iterator

from fwd.config import version
from fwd.core.text import format_mac
from fwd.model import Refusal, SourceState
from fwd.node.forwarder import Forwarder
from fwd.node.forwarding import Forwarding
from fwd.node.hostsetup import PartState
from fwd.ops.leaseages import LeaseAges
from fwd.ops.report import drop_reasons
from fwd.ops.status import (
    BatchStatus,
    DropStatus,
    HostStatus,
    LeaseStatus,
    OffloadStatus,
    RefusalStatus,
    SourceStatus,
    Status,
    TunnelStatus,
)
from fwd.plane import (
    ALL_OFFLOADS,
    NOTHING,
    Offload,
    PeerGroup,
    PeerTraffic,
    calls_limited,
)


def gather(
    forwarding: Forwarding,
    *,
    host: Iterable[PartState],
    trouble: str | None,
    source: SourceState,
    refused: Iterable[Refusal],
    ages: LeaseAges,
) -> Status:
    """The document of this moment, but for the leases: those are most of the work."""
    tunnels = tuple(map(_tunnel, forwarding.forwarders))
    first = forwarding.stations[0]
    return Status(
        version=version(),
        node=first.lease.node,
        vni=first.settings.vni,
        port=first.settings.port,
        source_check=first.settings.source_check.name.lower(),
        system_calls=calls_limited(),
        forwarding=all(tunnel.forwarding for tunnel in tunnels),
        trouble=trouble,
        source=SourceStatus(
            kind=source.kind,
            standing=source.standing,
            detail=source.detail,
            leases_of="source" if source.is_current else "saved state",
            leases_age_seconds=ages.seconds,
        ),
        host=tuple(
            HostStatus(
                part=one.name,
                state=one.state,
                trouble=one.trouble,
                repairs=one.repairs,
                last_repair=one.last_repair,
            )
            for one in host
        ),
        refused=tuple(RefusalStatus(node=one.node, reason=one.reason) for one in refused),
        leases=(),
        tunnels=tunnels,
    )


def leases_of(forwarding: Forwarding, ages: LeaseAges) -> Iterator[LeaseStatus]:
    """Each lease in force, and what it carries."""
    traffic = {one.family: one.tunnel.peer_traffic() for one in forwarding.forwarders}
    now = time.monotonic()
    for lease in forwarding.book.leases:
        carried = traffic[lease.family].get(lease.public_ip, NOTHING)
        yield LeaseStatus(
            node=lease.node,
            family=lease.family,
            subnet=str(lease.subnet),
            public_ip=str(lease.public_ip),
            vtep_mac=format_mac(lease.vtep_mac),
            age_seconds=ages.of(lease),
            out_packets=carried.out_packets,
            out_bytes=carried.out_bytes,
            in_packets=carried.in_packets,
            in_bytes=carried.in_bytes,
            heard_seconds=max(0.0, now - carried.heard_ms / 1000) if carried.heard_ms else None,
        )


def _batches(counters: dict[str, int]) -> BatchStatus:
    def mean(packets: str, calls: str) -> float | None:
        return counters[packets] / counters[calls] if counters.get(calls) else None

    return BatchStatus(
        packets_per_read=mean("out_packets", "out_reads"),
        segments_per_send=mean("out_sent", "out_sends"),
        packets_per_receive=mean("in_packets", "in_receives"),
        segments_per_write=mean("in_written", "in_writes"),
    )


def carried(forwarding: Forwarding, family: int, group: PeerGroup) -> list[PeerTraffic]:
    """What went to and came from each of these peers of one family."""
    for one in forwarding.forwarders:
        if one.family == family:
            return one.tunnel.traffic_of(group)
    return [NOTHING] * len(group.peers)


def _tunnel(forwarder: Forwarder) -> TunnelStatus:
    station, tunnel = forwarder.station, forwarder.tunnel
    plane = tunnel.plane
    wanted = station.settings.offloads
    in_force = plane.offloads if plane is not None else Offload(0)
    counters = tunnel.counters()
    return TunnelStatus(
        family=forwarder.family,
        subnet=str(station.lease.subnet),
        public_ip=str(station.lease.public_ip),
        vtep_mac=format_mac(station.lease.vtep_mac),
        device=station.layout.device,
        mtu=station.layout.mtu,
        underlay=station.underlay.name,
        forwarding=plane is not None,
        direct_routes=forwarder.direct.count,
        workers=plane.workers if plane is not None else 0,
        retired_tables=plane.retired if plane is not None else 0,
        offloads=OffloadStatus(
            in_force=in_force.names,
            fallen_back=(wanted & ~in_force).names,
            disabled=(ALL_OFFLOADS & ~wanted).names,
        ),
        batches=_batches(counters),
        counters=counters,
        worker_counters=plane.worker_counters() if plane is not None else (),
        worker_times=plane.processor_times() if plane is not None else (),
        drops=tuple(
            DropStatus(reason=info.name, count=counters[info.name], text=info.text)
            for info in drop_reasons()
            if counters.get(info.name)
        ),
    )
