# SPDX-License-Identifier: Apache-2.0
"""Fills in the status document from a running agent's parts; `ops.status` says what it means."""

from collections.abc import Iterable

from fwd.config import version
from fwd.core.text import format_mac
from fwd.model import Refusal, SourceState
from fwd.node.forwarder import Forwarder
from fwd.node.hostsetup import PartState
from fwd.ops.report import drop_reasons
from fwd.ops.status import (
    DropStatus,
    HostStatus,
    LeaseStatus,
    OffloadStatus,
    RefusalStatus,
    SourceStatus,
    Status,
)
from fwd.plane import ALL_OFFLOADS, Offload


def gather(
    forwarder: Forwarder,
    *,
    host: Iterable[PartState],
    source_check: str,
    trouble: str | None,
    source: SourceState,
    refused: Iterable[Refusal],
) -> Status:
    """The document of this moment."""
    station, tunnel = forwarder.station, forwarder.tunnel
    plane = tunnel.plane
    wanted = station.settings.offloads
    in_force = plane.offloads if plane is not None else Offload(0)
    counters = tunnel.counters()
    return Status(
        version=version(),
        node=station.lease.node,
        subnet=str(station.lease.subnet),
        public_ip=str(station.lease.public_ip),
        vtep_mac=format_mac(station.lease.vtep_mac),
        device=station.layout.device,
        mtu=station.layout.mtu,
        vni=station.settings.vni,
        port=station.settings.port,
        underlay=station.underlay.name,
        source_check=source_check,
        forwarding=plane is not None,
        trouble=trouble,
        source=SourceStatus(
            kind=source.kind,
            standing=source.standing,
            detail=source.detail,
            leases_of="source" if source.is_current else "saved state",
        ),
        direct_routes=forwarder.direct.count,
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
        workers=plane.workers if plane is not None else 0,
        retired_tables=plane.retired if plane is not None else 0,
        offloads=OffloadStatus(
            in_force=in_force.names,
            fallen_back=(wanted & ~in_force).names,
            disabled=(ALL_OFFLOADS & ~wanted).names,
        ),
        leases=tuple(
            LeaseStatus(
                node=lease.node,
                subnet=str(lease.subnet),
                public_ip=str(lease.public_ip),
                vtep_mac=format_mac(lease.vtep_mac),
            )
            for lease in forwarder.book.leases
        ),
        counters=counters,
        worker_counters=plane.worker_counters() if plane is not None else (),
        drops=tuple(
            DropStatus(reason=info.name, count=counters[info.name], text=info.text)
            for info in drop_reasons()
            if counters.get(info.name)
        ),
    )
