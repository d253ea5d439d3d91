# SPDX-License-Identifier: Apache-2.0
"""Every metric that there is: name, kind, labels, meaning.

Dashboards, alerts and docs are held to this list by a test.

Counters of the data plane have the names that Prometheus' rules want: a unit at the end, `outbound`
for what Pods send and `inbound` for what they get, `_total`.
"""

from msgspec import Struct

COUNTER, GAUGE, INFO = "counter", "gauge", "info"


class Metric(Struct, frozen=True):
    """`name` as it stands in /metrics, `_total` and `_info` included."""

    name: str
    kind: str
    text: str
    labels: tuple[str, ...] = ()


_FAMILY = ("family",)

TRAFFIC = {
    "out_reads": Metric(
        "fwd_outbound_tun_reads_total", COUNTER, "Reads from the TUN device", _FAMILY
    ),
    "out_packets": Metric(
        "fwd_outbound_packets_total",
        COUNTER,
        "Packets read from the TUN device, as many as they are on the wire",
        _FAMILY,
    ),
    "out_bytes": Metric(
        "fwd_outbound_bytes_total", COUNTER, "Bytes of inner packets sent to other nodes", _FAMILY
    ),
    "out_sends": Metric(
        "fwd_outbound_sends_total", COUNTER, "Messages given to the underlay sockets", _FAMILY
    ),
    "out_sent": Metric(
        "fwd_outbound_sent_packets_total", COUNTER, "Packets sent to other nodes", _FAMILY
    ),
    "out_gso_refused": Metric(
        "fwd_outbound_refused_segmentations_total",
        COUNTER,
        "Messages sent again without UDP_SEGMENT",
        _FAMILY,
    ),
    "out_uncut": Metric(
        "fwd_outbound_uncut_packets_total",
        COUNTER,
        "Super-packets sent whole, for the kernel to cut (--tunnel-gso)",
        _FAMILY,
    ),
    "out_uncut_refused": Metric(
        "fwd_outbound_refused_uncut_packets_total",
        COUNTER,
        "Super-packets that the kernel did not take whole, so that the agent cut them",
        _FAMILY,
    ),
    "icmp_sent": Metric(
        "fwd_icmp_unreachable_sent_total",
        COUNTER,
        "Answers to local senders that no node owns the destination",
        _FAMILY,
    ),
    "in_receives": Metric(
        "fwd_inbound_receives_total", COUNTER, "Messages received from the underlay", _FAMILY
    ),
    "in_packets": Metric(
        "fwd_inbound_packets_total", COUNTER, "Datagrams received from the underlay", _FAMILY
    ),
    "in_bytes": Metric(
        "fwd_inbound_bytes_total", COUNTER, "Bytes of inner packets written to the TUN", _FAMILY
    ),
    "in_writes": Metric(
        "fwd_inbound_tun_writes_total", COUNTER, "Writes to the TUN device", _FAMILY
    ),
    "in_written": Metric(
        "fwd_inbound_written_packets_total",
        COUNTER,
        "Packets written to the TUN device, as many as they were on the wire",
        _FAMILY,
    ),
}
"""By counter of the data plane."""

DROPS = Metric(
    "fwd_dropped_packets_total",
    COUNTER,
    "Packets dropped by reason; every reason is always there",
    ("family", "direction", "reason"),
)

_PEER = ("family", "node")
PEER_METRICS = (
    Metric("fwd_peer_transmit_packets_total", COUNTER, "Packets sent to a node", _PEER),
    Metric("fwd_peer_transmit_bytes_total", COUNTER, "Bytes of inner packets sent to it", _PEER),
    Metric("fwd_peer_receive_packets_total", COUNTER, "Packets accepted from a node", _PEER),
    Metric("fwd_peer_receive_bytes_total", COUNTER, "Bytes of inner packets from it", _PEER),
    Metric(
        "fwd_peer_last_heard_seconds",
        GAUGE,
        "Seconds since a packet of a node was accepted; missing if none ever was",
        _PEER,
    ),
)
"""Switched off by --metrics-per-peer=false."""

BUILD = Metric("fwd_build_info", GAUGE, "Always 1; the version is a label", ("version", "node"))
READY = Metric("fwd_ready", GAUGE, "1 once /readyz says so")
FORWARDING = Metric("fwd_tunnel_up", GAUGE, "Whether packets flow", ("family", "device"))
MTU = Metric("fwd_tunnel_mtu_bytes", GAUGE, "MTU of the TUN device", _FAMILY)
WORKERS = Metric("fwd_workers", GAUGE, "Threads that carry packets", _FAMILY)
WORKER_RAN = Metric(
    "fwd_worker_cpu_seconds_total",
    COUNTER,
    "Processor time of a worker since it began",
    ("family", "worker"),
)
WORKER_WAITED = Metric(
    "fwd_worker_waiting_seconds_total",
    COUNTER,
    "Time for which a worker had something to do and others had the processor",
    ("family", "worker"),
)
RETIRED = Metric("fwd_retired_tables", GAUGE, "Old forwarding tables not yet freed", _FAMILY)
OFFLOAD = Metric(
    "fwd_offload_in_force",
    GAUGE,
    "Whether an offload is used; one that was asked for and is not costs speed",
    ("family", "offload"),
)
DIRECT = Metric(
    "fwd_direct_routes", GAUGE, "Peers that the kernel routes to, without the tunnel", _FAMILY
)
LEASES = Metric("fwd_leases", GAUGE, "Leases of other nodes in force", _FAMILY)
REFUSED = Metric("fwd_refused_leases", GAUGE, "Leases that are left out, see fwd status")
CURRENT = Metric(
    "fwd_leases_current", GAUGE, "1: leases are the source's, 0: still those of the saved state"
)
LEASES_AGE = Metric(
    "fwd_leases_age_seconds", GAUGE, "Seconds since leases were last put into force"
)
SOURCE = Metric(
    "fwd_source_info",
    GAUGE,
    "Always 1; where leases come from and how that stands",
    ("kind", "standing"),
)
TROUBLE = Metric(
    "fwd_trouble",
    GAUGE,
    "1 while the source's last word or the underlay cannot be followed, or leases not saved",
)
HOST_PART = Metric(
    "fwd_host_part_up", GAUGE, "Whether rules, subnet.env, ... are as they must be", ("part",)
)
REPAIRS = Metric(
    "fwd_host_part_repairs_total", COUNTER, "How often others' changes were mended", ("part",)
)

OWN_METRICS = (
    BUILD, READY, FORWARDING, MTU, WORKERS, WORKER_RAN, WORKER_WAITED, RETIRED, OFFLOAD, DIRECT,
    LEASES, REFUSED, CURRENT, LEASES_AGE, SOURCE, TROUBLE, HOST_PART, REPAIRS,
)  # fmt: skip

ALL_METRICS = (*OWN_METRICS, *TRAFFIC.values(), DROPS, *PEER_METRICS)
"""Besides these there is what prometheus-client says of the process (process_*)."""
