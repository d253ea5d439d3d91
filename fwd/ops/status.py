# SPDX-License-Identifier: Apache-2.0
"""The status document: what it says, and how to get it from the running agent.

`ops.gather` fills it in, `ops.statustext` shows it to people, `ops.metrics` to Prometheus.
"""

from pathlib import Path

import msgspec
from msgspec import Struct

from fwd.core.processortime import ProcessorTime
from fwd.core.unreadable import UNREADABLE
from fwd.model import FwdError
from fwd.ops.control import StatusRequest, ask


class LeaseStatus(Struct, frozen=True, rename="kebab"):
    """A peer's lease in force, and what went to it and came from it since it is."""

    node: str
    family: int
    subnet: str
    public_ip: str
    vtep_mac: str
    age_seconds: float
    """Since this agent put it into force."""
    out_packets: int
    out_bytes: int
    in_packets: int
    in_bytes: int
    heard_seconds: float | None
    """Since a packet of it was last accepted; None: none ever was."""


class SourceStatus(Struct, frozen=True, rename="kebab"):
    """Where leases come from, how that stands, and whether those in force are from there."""

    kind: str
    standing: str
    detail: str
    leases_of: str
    """`source`, or `saved state` until the source has told all it knows."""
    leases_age_seconds: float
    """Since leases were last put into force."""


class RefusalStatus(Struct, frozen=True):
    """A node that is left out, wholly or for one family."""

    node: str
    reason: str


class HostStatus(Struct, frozen=True, rename="kebab"):
    """A part of what the host needs besides the tunnel: rules, subnet.env, ..."""

    part: str
    state: str
    """`not yet`, or how it stands."""
    trouble: str | None
    """Why it is not as it must be, while it is not."""
    repairs: int
    last_repair: str | None


class OffloadStatus(Struct, frozen=True, rename="kebab"):
    """Offloads by name: used now, asked for but not granted, not asked for."""

    in_force: tuple[str, ...]
    fallen_back: tuple[str, ...]
    disabled: tuple[str, ...]


class DropStatus(Struct, frozen=True):
    """One reason for drops, packets so far, and what the reason means."""

    reason: str
    count: int
    text: str


class BatchStatus(Struct, frozen=True, rename="kebab"):
    """How many packets the kernel moved at a time, on average; None: not one call yet."""

    packets_per_read: float | None
    segments_per_send: float | None
    packets_per_receive: float | None
    segments_per_write: float | None


class TunnelStatus(Struct, frozen=True, rename="kebab"):
    """One family's tunnel.  Counters are packets and bytes since the agent started."""

    family: int
    """4 or 6."""
    subnet: str
    public_ip: str
    vtep_mac: str
    device: str
    mtu: int
    underlay: str
    forwarding: bool
    direct_routes: int
    """Peers on our link that the kernel routes to, without the tunnel."""
    workers: int
    retired_tables: int
    offloads: OffloadStatus
    batches: BatchStatus
    counters: dict[str, int]
    worker_counters: tuple[dict[str, int], ...]
    worker_times: tuple[ProcessorTime | None, ...]
    """None: it does not run, or the kernel does not count."""
    drops: tuple[DropStatus, ...]


class Status(Struct, frozen=True, rename="kebab"):
    """The document."""

    version: str
    node: str
    vni: int
    port: int
    source_check: str
    system_calls: str
    """`limited`, `logged` or `not limited`."""
    forwarding: bool
    """Whether every tunnel does."""
    trouble: str | None
    """Why the source's last word is not in force, or where the underlay went, if so."""
    source: SourceStatus
    host: tuple[HostStatus, ...]
    refused: tuple[RefusalStatus, ...]
    leases: tuple[LeaseStatus, ...]
    """The peers', of all families."""
    tunnels: tuple[TunnelStatus, ...]
    """One a family that is on, IPv4 first."""


def fetch(run_dir: Path) -> bytes:
    """The document of the agent that runs with this directory.  FwdError if none answers."""
    return ask(run_dir, StatusRequest())


def decode(document: bytes) -> Status:
    """The document as a value.  FwdError if the agent speaks of other things than we know."""
    try:
        return msgspec.json.decode(document, type=Status)
    except UNREADABLE as error:
        raise FwdError(f"the agent's answer is not of this version: {error}") from error
