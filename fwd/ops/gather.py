# SPDX-License-Identifier: Apache-2.0
"""Fills in the status document from a running agent's parts; `ops.status` says what it means."""

from fwd.config import version
from fwd.core.leases import LeaseBook
from fwd.core.text import format_mac
from fwd.node.station import Station
from fwd.node.tunnel import Tunnel
from fwd.ops.report import drop_reasons
from fwd.ops.status import DropStatus, LeaseStatus, OffloadStatus, Status
from fwd.plane import ALL_OFFLOADS, Offload


def gather(
    station: Station,
    tunnel: Tunnel,
    book: LeaseBook,
    *,
    source_check: str,
    trouble: str | None,
) -> Status:
    """The document of this moment."""
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
            for lease in book.leases
        ),
        counters=counters,
        worker_counters=plane.worker_counters() if plane is not None else (),
        drops=tuple(
            DropStatus(reason=info.name, count=counters[info.name], text=info.text)
            for info in drop_reasons()
            if counters.get(info.name)
        ),
    )
