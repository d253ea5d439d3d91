# SPDX-License-Identifier: Apache-2.0
"""What a plane is made for, in Python's types."""

import enum
from typing import Any, Self

from msgspec import Struct

from fwd._plane import ffi, lib
from fwd.model import MAC_LEN, Address


class Offload(enum.IntFlag):
    """What the kernel does for the plane, each with a slower way to do without it."""

    VNET_HDR = lib.VX_VNET_HDR
    TSO = lib.VX_TSO
    USO = lib.VX_USO
    MULTI_QUEUE = lib.VX_MULTI_QUEUE
    UDP_SEGMENT = lib.VX_UDP_SEGMENT
    UDP_GRO = lib.VX_UDP_GRO
    TUNNEL_GSO = lib.VX_TUNNEL_GSO

    @property
    def names(self) -> tuple[str, ...]:
        """As options and logs spell them: `udp-segment`."""
        return tuple(str(flag.name).lower().replace("_", "-") for flag in self)

    @classmethod
    def named(cls, name: str) -> Self:
        """The reverse of names: KeyError for a name that is none."""
        return cls[name.upper().replace("-", "_")]


TUN_OFFLOADS = Offload.VNET_HDR | Offload.TSO | Offload.USO | Offload.MULTI_QUEUE
UDP_OFFLOADS = Offload.UDP_SEGMENT | Offload.UDP_GRO
ALL_OFFLOADS = TUN_OFFLOADS | UDP_OFFLOADS
"""But for TUNNEL_GSO, which changes how the node's firewall sees the tunnel: to be asked for."""

_NAME_MAX = 15

MOST_WORKERS: int = lib.VX_MAX_WORKERS
MOST_QUEUES_OF_EACH: int = lib.VX_WORKER_QUEUES
MOST_QUEUES = 64
"""Of all workers, unless there are more workers."""

MIN_MTU: int = lib.VX_MIN_MTU
"""Of the TUN, bytes."""


class SourceCheck(enum.IntEnum):
    """Which inner sources a peer may use."""

    OFF = lib.VX_SOURCE_OFF
    LOOSE = lib.VX_SOURCE_LOOSE
    STRICT = lib.VX_SOURCE_STRICT


class PlaneSettings(Struct, frozen=True, kw_only=True):
    """What a plane is made for; see struct vx_settings."""

    device: str
    family: int
    mac: bytes
    """This node's VtepMAC: 6 bytes."""
    local: Address
    """The underlay address to send from and to receive at."""
    scope: int = 0
    """Number of the underlay interface where the address is link-local."""
    vni: int
    port: int
    mtu: int
    """Of the TUN: bytes of the largest inner packet."""
    workers: int
    cpus: tuple[int, ...] = ()
    """Processors of the workers, by turns; none: where the scheduler puts them."""
    source_check: SourceCheck = SourceCheck.STRICT
    offloads: Offload = ALL_OFFLOADS
    """Wanted; what is granted is `Plane.offloads`."""
    icmp_rate: int = 100
    """Unreachables a second and worker."""
    spin_us: int = 100
    """How long a worker looks for the next packet before it sleeps; 0: it does not."""
    sources: int = 16
    """Sending sockets: as many outer source ports, so many flows in the underlay's eyes."""

    @property
    def tap(self) -> str:
        """Name of the TAP for TUNNEL_GSO: fwd.1 beside flannel.1."""
        return tap_of(self.device)


def packed_address(address: Address) -> bytes:
    """As C has it: network order, in the first bytes of VX_ADDR_LEN."""
    return address.packed.ljust(lib.VX_ADDR_LEN, b"\0")


def tap_of(device: str) -> str:
    """The TAP's name beside a tunnel device's."""
    return f"fwd{device.removeprefix('flannel')}"[:_NAME_MAX]


def queues_of_each(workers: int) -> int:
    """Queues of the TUN that each worker is to read by turns.

    Many flows in one queue lose packets together when one of them fills it.  Few workers get the
    most; of many, each has few flows as it is, and descriptors are finite.
    """
    return max(1, min(MOST_QUEUES_OF_EACH, MOST_QUEUES // workers))


def c_settings(
    settings: PlaneSettings,
    *,
    offloads: Offload,
    workers: int,
    queues: int,
) -> Any:  # noqa: ANN401
    """The same for C; offloads, workers and each one's queues as they were granted."""
    assert len(settings.mac) == MAC_LEN
    return ffi.new(
        "struct vx_settings *",
        {
            "family": settings.family,
            "source_check": settings.source_check,
            "mac": settings.mac,
            "local": packed_address(settings.local),
            "vni": settings.vni,
            "mtu": settings.mtu,
            "offloads": offloads,
            "icmp_rate": settings.icmp_rate,
            "spin": settings.spin_us,
            "workers": workers,
            "queues": queues,
            "sources": settings.sources,
            "port": settings.port,
            "scope": settings.scope,
        },
    )
