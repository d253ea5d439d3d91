# SPDX-License-Identifier: Apache-2.0
"""A status document for tests: a node with one peer, one refused node, a little of everything."""

from fwd.core.processortime import ProcessorTime
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

LEASE = LeaseStatus(
    node="n2",
    family=4,
    subnet="10.244.2.0/24",
    public_ip="192.168.50.2",
    vtep_mac="02:00:00:00:00:02",
    age_seconds=7200.0,
    out_packets=3,
    out_bytes=4000,
    in_packets=1,
    in_bytes=84,
    heard_seconds=0.25,
)
DROPS = (DropStatus(reason="in_too_short", count=3, text="no room"),)
TUNNEL = TunnelStatus(
    family=4,
    subnet="10.244.1.0/24",
    public_ip="192.168.50.1",
    vtep_mac="02:00:00:00:00:01",
    device="flannel.1",
    mtu=1450,
    underlay="eth0",
    forwarding=True,
    direct_routes=3,
    workers=2,
    retired_tables=0,
    offloads=OffloadStatus(in_force=("tso",), fallen_back=("uso",), disabled=()),
    batches=BatchStatus(
        packets_per_read=1.5,
        segments_per_send=12.25,
        packets_per_receive=None,
        segments_per_write=None,
    ),
    counters={"out_packets": 7, "in_packets": 0, "in_too_short": 3},
    worker_counters=(),
    worker_times=(ProcessorTime(120.0, 3.5), None),
    drops=DROPS,
)
DOCUMENT = Status(
    version="1",
    node="n1",
    vni=1,
    port=8472,
    source_check="strict",
    system_calls="limited",
    forwarding=True,
    trouble=None,
    source=SourceStatus(
        kind="static",
        standing="polling",
        detail="a.json",
        leases_of="source",
        leases_age_seconds=7200.0,
    ),
    host=(
        HostStatus(
            part="rules",
            state="forward in nftables",
            trouble=None,
            repairs=2,
            last_repair="2026-01-01T00:00:00Z missing in nft",
        ),
        HostStatus(
            part="conflist", state="not yet", trouble="no room", repairs=0, last_repair=None
        ),
    ),
    refused=(RefusalStatus(node="n9", reason="node n9: VNI 7, but net-conf.json says 1"),),
    leases=(LEASE,),
    tunnels=(TUNNEL,),
)
