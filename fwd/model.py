# SPDX-License-Identifier: Apache-2.0
"""The values that all other modules speak of, and the two errors that a person reads.

Values only: who makes them is `sources`, what is legal among them is `core.leases`, what becomes of
them is `core.plan` and `plane`.  Addresses are `ipaddress` objects, MACs six bytes as on the wire.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TypeAlias

from msgspec import Struct

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

IPV4 = 4
IPV6 = 6
"""Families, everywhere: the IP version as an integer."""

MAC_LEN = 6


class FwdError(Exception):
    """What is wrong and what to do about it, in one line."""


class ConfigError(FwdError, ValueError):
    """What the operator wrote (a flag, net-conf.json, the leases file) cannot be used."""


class Lease(Struct, frozen=True):
    """One node's claim on one subnet of one IP family, as flannel's annotations state it."""

    node: str
    subnet: Network
    public_ip: Address
    """Underlay address: peers send VXLAN there, and it sends from there."""
    vtep_mac: bytes
    vni: int
    backend_type: str = "vxlan"

    @property
    def family(self) -> int:
        """4 or 6.  Inner and outer packets are of one family (flannel's rule)."""
        return self.subnet.version


class OwnLease(Struct, frozen=True):
    """This node's lease as its source says it, whether its VTEP's MAC is known yet or not."""

    node: str
    subnet: Network
    public_ip: Address | None = None
    """Where peers shall send; None: to the address that the underlay interface has."""
    underlay_ip: Address | None = None
    """An operator's choice of the underlay interface by its address; it beats --public-ip."""
    vtep_mac: bytes | None = None
    """None: the source knows none; `core.identity` chooses."""

    @property
    def family(self) -> int:
        """4 or 6."""
        return self.subnet.version


class Peer(Struct, frozen=True):
    """A VTEP to send to: outer destination address, inner destination MAC."""

    outer: Address
    mac: bytes


class Route(Struct, frozen=True):
    """Inner destinations within prefix go to `Plan.peers[peer]`."""

    prefix: Network
    peer: int


class Plan(Struct, frozen=True):
    """One whole forwarding table of one family, as the plane is to hold it."""

    peers: tuple[Peer, ...] = ()
    routes: tuple[Route, ...] = ()


class Refusal(Struct, frozen=True):
    """A node that is left out, wholly or for one family, and why."""

    node: str
    reason: str


class Snapshot(Struct, frozen=True):
    """All leases that a source knows at one moment; `leases` may or may not have the own one too.

    They stand in the order of their right: of two that contradict each other the first is in force.
    `refused` are nodes that have no usable lease to begin with.

    It replaces whatever the source said before: what changed is found by comparing values, so that
    a source that lost sight of the cluster for a while needs no care of its own.
    """

    own: tuple[OwnLease, ...]
    """This node's, at most one a family; empty: the source knows none yet, and who began without it
    goes on with those that it has.  Never empty in a source's `first()`."""
    leases: tuple[Lease, ...] = ()
    refused: tuple[Refusal, ...] = ()


class Trouble(Struct, frozen=True):
    """Why a source cannot say what the leases are now, in one line; the last Snapshot holds."""

    text: str


class SourceState(Struct, frozen=True):
    """How a source stands, for people: `standing` in a word or two, `detail` of it."""

    kind: str
    standing: str
    detail: str = ""
    is_current: bool = True
    """Whether the leases are what the source says now; else they are from a saved state."""
