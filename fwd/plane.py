# SPDX-License-Identifier: Apache-2.0
"""The C data plane as one Python object: the only module that knows cffi.

A Plane is opened (TUN queues and sockets), gets a table by commit(), and forwards once start() has
made its worker threads.  Packets never pass through Python.  What the table should hold is
`core.plan`'s business, the TUN's address and route are `node.netlink`'s.  Not thread-safe: one
control thread calls, as cext/api.h asks.

Every failure of C is a -errno and becomes one OSError whose text says what to do.
"""

import enum
import os
import struct
from contextlib import ExitStack
from functools import cache
from typing import Any, Self

from msgspec import Struct
from msgspec.structs import replace

# cffi's objects are of no type that mypy knows; everything that leaves this module has one.
from fwd._plane import ffi, lib
from fwd.core.oshints import hint
from fwd.model import MAC_LEN, Address, Plan


class Offload(enum.IntFlag):
    """What the kernel does for the plane, each with a slower way to do without it."""

    VNET_HDR = lib.VX_VNET_HDR
    TSO = lib.VX_TSO
    USO = lib.VX_USO
    MULTI_QUEUE = lib.VX_MULTI_QUEUE
    UDP_SEGMENT = lib.VX_UDP_SEGMENT
    UDP_GRO = lib.VX_UDP_GRO

    @property
    def names(self) -> tuple[str, ...]:
        """As options and logs spell them: `udp-segment`."""
        return tuple(str(flag.name).lower().replace("_", "-") for flag in self)

    @classmethod
    def named(cls, name: str) -> Self:
        """The reverse of names: KeyError for a name that is none."""
        return cls[name.upper().replace("-", "_")]


_TUN_OFFLOADS = Offload.VNET_HDR | Offload.TSO | Offload.USO | Offload.MULTI_QUEUE
_UDP_OFFLOADS = Offload.UDP_SEGMENT | Offload.UDP_GRO
ALL_OFFLOADS = _TUN_OFFLOADS | _UDP_OFFLOADS
_TUN = "/dev/net/tun"

MIN_MTU: int = lib.VX_MIN_MTU
"""Of the TUN, bytes."""


class SourceCheck(enum.IntEnum):
    """Which inner sources a peer may use."""

    OFF = lib.VX_SOURCE_OFF
    LOOSE = lib.VX_SOURCE_LOOSE
    STRICT = lib.VX_SOURCE_STRICT


class CounterKind(enum.IntEnum):
    """What a counter counts."""

    TRAFFIC = lib.VX_COUNT_TRAFFIC
    DROP_OUT = lib.VX_COUNT_DROP_OUT
    DROP_IN = lib.VX_COUNT_DROP_IN


class CounterInfo(Struct, frozen=True):
    """One counter: snake_case name for machines, a sentence for people."""

    name: str
    text: str
    kind: CounterKind


class PlaneSettings(Struct, frozen=True, kw_only=True):
    """What a plane is made for; see struct vx_settings."""

    device: str
    family: int
    mac: bytes
    """This node's VtepMAC: 6 bytes."""
    local: Address
    """The underlay address to send from and to receive at."""
    vni: int
    port: int
    mtu: int
    """Of the TUN: bytes of the largest inner packet."""
    workers: int
    source_check: SourceCheck = SourceCheck.STRICT
    offloads: Offload = ALL_OFFLOADS
    """Wanted; what is granted is `Plane.offloads`."""
    icmp_rate: int = 100
    """Unreachables a second and worker."""
    sources: int = 16
    """Sending sockets: as many outer source ports, so many flows in the underlay's eyes."""


class Plane:
    """One family's data path on one TUN."""

    def __init__(self, settings: PlaneSettings, *, handle: Any, workers: int) -> None:  # noqa: ANN401
        self.settings = settings
        self.workers = workers
        self._handle = handle

    @classmethod
    def open(cls, settings: PlaneSettings) -> Self:
        """Opens the sockets and the TUN (made persistent if need be).  No thread runs yet.

        The TUN last: a port that is taken must not leave a device behind.
        """
        with ExitStack() as undo:
            listen, gro = _open_sockets(settings, undo, listening=settings.workers)
            sources, segment = _open_sockets(settings, undo)
            tun, granted = _open_tun(settings, undo)
            undo.pop_all()  # from here on they are C's, also when it fails
        workers = len(tun)
        for fd in listen[workers:]:  # without multi-queue there are fewer workers than wanted
            os.close(fd)
        error = ffi.new("int *")
        handle = lib.vx_plane_new(
            _c_settings(settings, offloads=granted | gro | segment, workers=workers),
            ffi.new("int[]", tun),
            ffi.new("int[]", listen[:workers]),
            ffi.new("int[]", sources),
            error,
        )
        if handle == ffi.NULL:
            _check(error[0], "make the data plane", settings)
        return cls(settings, handle=handle, workers=workers)

    def start(self) -> None:
        """Starts the workers.  Once."""
        _check(lib.vx_plane_start(self._handle), "start the workers", self.settings)

    def commit(self, plan: Plan) -> None:
        """Puts plan into force, whole, while packets flow.  On OSError the old one stays."""
        peers = b"".join(_PEER.pack(peer.outer.packed, peer.mac) for peer in plan.peers)
        routes = b"".join(
            _ROUTE.pack(route.prefix.network_address.packed, route.peer, route.prefix.prefixlen)
            for route in plan.routes
        )
        done = lib.vx_plane_commit(
            self._handle,
            ffi.from_buffer("struct vx_peer[]", peers),
            len(plan.peers),
            ffi.from_buffer("struct vx_route[]", routes),
            len(plan.routes),
        )
        _check(done, f"commit {len(plan.routes)} routes", self.settings)

    def set_mtu(self, mtu: int) -> None:
        """Another MTU of the TUN, bytes; it is in force with the next commit."""
        _check(lib.vx_plane_set_mtu(self._handle, mtu), f"set the MTU to {mtu}", self.settings)
        self.settings = replace(self.settings, mtu=mtu)

    def counters(self) -> dict[str, int]:
        """All counters by name, summed over the workers."""
        return self._counters(-1)

    def worker_counters(self) -> tuple[dict[str, int], ...]:
        """The counters of each worker."""
        return tuple(self._counters(worker) for worker in range(self.workers))

    def _counters(self, worker: int) -> dict[str, int]:
        info = counter_info()
        values = ffi.new("uint64_t[]", len(info))
        done = lib.vx_plane_counters(self._handle, worker, values, len(info))
        _check(done, "read the counters", self.settings)
        return {one.name: value for one, value in zip(info, values, strict=True)}

    @property
    def wanted(self) -> Offload:
        """Offloads that were asked for."""
        return self.settings.offloads

    @property
    def offloads(self) -> Offload:
        """Offloads in force now.  UDP_SEGMENT goes when a device refuses it."""
        return Offload(lib.vx_plane_offloads(self._handle))

    @property
    def retired(self) -> int:
        """Old tables not yet freed."""
        return int(lib.vx_plane_retired(self._handle))

    def close(self) -> None:
        """Stops the workers and closes everything; the TUN device stays.  May be called again."""
        handle, self._handle = self._handle, ffi.NULL
        if handle != ffi.NULL:
            lib.vx_plane_free(handle)


@cache
def counter_info() -> tuple[CounterInfo, ...]:
    """All counters that the library has, in its order."""
    return tuple(
        CounterInfo(
            name=ffi.string(lib.vx_counter_name(i)).decode("ascii"),
            text=ffi.string(lib.vx_counter_text(i)).decode("ascii"),
            kind=CounterKind(lib.vx_counter_kind(i)),
        )
        for i in range(lib.vx_counter_count())
    )


def probe() -> None:
    """Raises OSError, with what to do, where no TUN can be made at all."""
    try:
        os.close(os.open(_TUN, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        advice = hint("open", error.errno or 0, device=_TUN) or error.strerror
        raise OSError(error.errno, f"cannot open {_TUN}: {advice}") from error


def _open_tun(settings: PlaneSettings, undo: ExitStack) -> tuple[list[int], Offload]:
    """One queue a worker; a single one where the kernel (or an option) has no multi-queue."""
    fds = ffi.new("int[]", settings.workers)
    granted = ffi.new("uint32_t *")
    count = lib.vx_tun_open(
        settings.device.encode(),
        settings.offloads & _TUN_OFFLOADS,
        settings.workers,
        fds,
        granted,
    )
    _check(count, f"open TUN device {settings.device}", settings)
    queues = [int(fd) for fd in fds[0:count]]
    for fd in queues:
        undo.callback(os.close, fd)
    return queues, Offload(granted[0])


def _open_sockets(
    settings: PlaneSettings, undo: ExitStack, *, listening: int = 0
) -> tuple[list[int], Offload]:
    """As many receiving sockets as asked for, or else the sending ones; what all of them grant."""
    local, granted = _address(settings.local), ffi.new("uint32_t *")
    offloads = settings.offloads & (Offload.UDP_GRO if listening else Offload.UDP_SEGMENT)
    in_force = offloads
    fds: list[int] = []
    for _ in range(listening or settings.sources):
        if listening:
            fd = lib.vx_udp_listen(
                settings.family, local, settings.port, bool(fds), offloads, granted
            )
            _check(fd, f"receive on {settings.local} UDP port {settings.port}", settings)
        else:
            fd = lib.vx_udp_source(settings.family, local, offloads, granted)
            _check(fd, f"send from {settings.local}", settings)
        undo.callback(os.close, fd)
        fds.append(fd)
        in_force &= Offload(granted[0])
    return fds, in_force


def _c_settings(settings: PlaneSettings, *, offloads: Offload, workers: int) -> Any:  # noqa: ANN401
    assert len(settings.mac) == MAC_LEN
    return ffi.new(
        "struct vx_settings *",
        {
            "family": settings.family,
            "source_check": settings.source_check,
            "mac": settings.mac,
            "vni": settings.vni,
            "mtu": settings.mtu,
            "offloads": offloads,
            "icmp_rate": settings.icmp_rate,
            "workers": workers,
            "sources": settings.sources,
            "port": settings.port,
        },
    )


def _address(address: Address) -> bytes:
    return address.packed.ljust(lib.VX_ADDR_LEN, b"\0")


def _check(done: int, what: str, settings: PlaneSettings) -> None:
    """Raises the OSError for a -errno, with what to do about it where that is known."""
    if done < 0:
        advice = hint(what.partition(" ")[0], -done, device=settings.device)
        raise OSError(-done, f"cannot {what}: {advice or os.strerror(-done)}")


_PEER = struct.Struct("=16s6s2x")
_ROUTE = struct.Struct("=16sIB3x")
assert _PEER.size == ffi.sizeof("struct vx_peer")
assert _ROUTE.size == ffi.sizeof("struct vx_route")
