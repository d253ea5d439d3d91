# SPDX-License-Identifier: Apache-2.0
"""One data plane: its life, its table, its counters."""

import os
import struct
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import cycle
from typing import Any, Self

from msgspec.structs import replace

from fwd._plane import ffi, lib
from fwd.core.capturefilter import Step
from fwd.model import Address, Plan
from fwd.plane.counters import counter_info
from fwd.plane.errors import check
from fwd.plane.opening import open_sockets, open_tun
from fwd.plane.peers import PeerSlots, PeerTraffic, read_traffic
from fwd.plane.settings import Offload, PlaneSettings, c_settings
from fwd.plane.trace import RecordReader, c_tests


class Plane:
    """One family's data path on one TUN."""

    def __init__(self, settings: PlaneSettings, *, handle: Any, workers: int) -> None:  # noqa: ANN401
        self.settings = settings
        self.workers = workers
        self._handle = handle
        self._reader = RecordReader()
        self._slots = PeerSlots()
        self._begun: dict[Address, PeerTraffic] = {}
        """What a peer's counters stood at when it got them from another one."""

    @classmethod
    def open(cls, settings: PlaneSettings) -> Self:
        """Opens the sockets and the TUN (made persistent if need be).  No thread runs yet.

        The TUN last: a port that is taken must not leave a device behind.
        """
        with ExitStack() as undo:
            listen, gro = open_sockets(settings, undo, listening=settings.workers)
            sources, segment = open_sockets(settings, undo)
            tun, granted = open_tun(settings, undo)
            undo.pop_all()  # from here on they are C's, also when it fails
        workers = len(tun)
        for fd in listen[workers:]:  # without multi-queue there are fewer workers than wanted
            os.close(fd)
        error = ffi.new("int *")
        handle = lib.vx_plane_new(
            c_settings(settings, offloads=granted | gro | segment, workers=workers),
            ffi.new("int[]", tun),
            ffi.new("int[]", listen[:workers]),
            ffi.new("int[]", sources),
            error,
        )
        if handle == ffi.NULL:
            check(error[0], "make the data plane", device=settings.device)
        return cls(settings, handle=handle, workers=workers)

    def start(self) -> None:
        """Starts the workers, each on its processor if it has one.  Once."""
        check(lib.vx_plane_start(self._handle), "start the workers", device=self.settings.device)
        for worker, cpu in zip(range(self.workers), cycle(self.settings.cpus), strict=False):
            done = lib.vx_plane_pin(self._handle, worker, cpu)
            check(done, f"keep a worker on processor {cpu}", device=self.settings.device)

    def commit(self, plan: Plan) -> None:
        """Puts plan into force, whole, while packets flow.  On OSError the old one stays."""
        slots = self._slots.propose((peer.outer for peer in plan.peers), settled=not self.retired)
        begun = self._read_traffic(self._slots.second_hand(slots))
        peers = b"".join(
            _PEER.pack(peer.outer.packed, peer.mac, slots[peer.outer]) for peer in plan.peers
        )
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
        check(done, f"commit {len(plan.routes)} routes", device=self.settings.device)
        self._begun = {peer: then for peer, then in (self._begun | begun).items() if peer in slots}
        self._slots.accept(slots)

    def set_mtu(self, mtu: int) -> None:
        """Another MTU of the TUN, bytes; it is in force with the next commit."""
        check(
            lib.vx_plane_set_mtu(self._handle, mtu),
            f"set the MTU to {mtu}",
            device=self.settings.device,
        )
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
        check(done, "read the counters", device=self.settings.device)
        return {one.name: value for one, value in zip(info, values, strict=True)}

    def peer_traffic(self) -> dict[Address, PeerTraffic]:
        """Of each peer in the table, by its underlay address, since it came there."""
        return {
            peer: traffic.since(self._begun[peer]) if peer in self._begun else traffic
            for peer, traffic in self._read_traffic(self._slots.by_peer).items()
        }

    def _read_traffic(self, slots: dict[Address, int]) -> dict[Address, PeerTraffic]:
        return dict(zip(slots, read_traffic(self._handle, list(slots.values())), strict=True))

    def drops(self) -> bytes:
        """Records of packets dropped since the last call: a few a second of each reason.

        `core.packetrecord` parses them.
        """
        return self._reader.drops(self._handle)

    def start_capture(self, steps: Sequence[Step], *, snaplen: int, ring_bytes: int) -> None:
        """Begins to record what the filter matches, snaplen bytes of each packet.

        ring_bytes, a power of two, is each worker's room between two calls of captured().  OSError
        with EBUSY if a capture runs, or the last one has only just ended.
        """
        done = lib.vx_plane_capture(self._handle, c_tests(steps), len(steps), snaplen, ring_bytes)
        check(done, "capture", device=self.settings.device)

    def captured(self) -> tuple[bytes, int]:
        """Records since the last call, and how many found no room since the capture began."""
        return self._reader.captured(self._handle)

    def end_capture(self) -> None:
        """May be called again."""
        if self._handle != ffi.NULL:
            lib.vx_plane_capture_end(self._handle)

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


_PEER = struct.Struct("=16s6s2xI")
_ROUTE = struct.Struct("=16sIB3x")
assert _PEER.size == ffi.sizeof("struct vx_peer")
assert _ROUTE.size == ffi.sizeof("struct vx_route")
