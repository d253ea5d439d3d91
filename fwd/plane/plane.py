# SPDX-License-Identifier: Apache-2.0
"""One data plane: its life, its table, its counters."""

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import Any, Final, Self

from msgspec.structs import replace

from fwd._plane import ffi, lib
from fwd.core.capturefilter import Step
from fwd.core.processortime import ProcessorTime, parse_schedstat
from fwd.model import Address, Plan
from fwd.plane.counters import counter_info
from fwd.plane.errors import check
from fwd.plane.opening import Descriptors, open_descriptors
from fwd.plane.peers import NOTHING, PeerGroup, PeerSlots, PeerTraffic, read_traffic
from fwd.plane.settings import Offload, PlaneSettings, c_settings
from fwd.plane.table import pack_peers, pack_routes, unpack_table
from fwd.plane.trace import RecordReader, c_tests

EXIT_STUCK: Final = int(lib.VX_EXIT_STUCK)
"""The process's exit code when a worker is stuck."""


class Plane:
    """One family's data path on one TUN."""

    def __init__(self, settings: PlaneSettings, descriptors: Descriptors, *, handle: Any) -> None:  # noqa: ANN401
        self.settings = settings
        self.descriptors = descriptors
        """Open as long as the plane is."""
        self._handle = handle
        self._reader = RecordReader()
        self._slots = PeerSlots()
        self._begun: dict[Address, PeerTraffic] = {}
        """What a peer's counters stood at when it got them from another one."""

    @classmethod
    def open(cls, settings: PlaneSettings) -> Self:
        """Opens the sockets and the TUN (made persistent if need be).  No thread runs yet."""
        return cls.on(settings, open_descriptors(settings))

    @classmethod
    def on(cls, settings: PlaneSettings, descriptors: Descriptors) -> Self:
        """A plane on what is open already, and its owner from here on (also when it fails)."""
        error = ffi.new("int *")
        try:
            wanted = c_settings(
                settings,
                offloads=descriptors.granted,
                workers=len(descriptors.listen),
                queues=len(descriptors.tun) // len(descriptors.listen),
            )
        except (AssertionError, OverflowError) as fault:
            descriptors.close()
            raise ValueError(f"{settings.device}: settings of no plane: {fault}") from fault
        handle = lib.vx_plane_new(
            wanted,
            ffi.new("int[]", descriptors.tun),
            ffi.new("int[]", descriptors.listen),
            ffi.new("int[]", descriptors.source),
            descriptors.tap[0] if descriptors.tap else -1,
            error,
        )
        if handle == ffi.NULL:
            check(error[0], "make the data plane", device=settings.device)
        return cls(settings, descriptors, handle=handle)

    @property
    def workers(self) -> int:
        """Threads that forward: one a receiving socket."""
        return len(self.descriptors.listen)

    def start(self) -> None:
        """Starts the workers, each on its processor if it has one: once, and after each stop()."""
        check(lib.vx_plane_start(self._handle), "start the workers", device=self.settings.device)
        for worker, cpu in zip(range(self.workers), cycle(self.settings.cpus), strict=False):
            done = lib.vx_plane_pin(self._handle, worker, cpu)
            check(done, f"keep a worker on processor {cpu}", device=self.settings.device)

    def stop(self) -> None:
        """Ends the workers, each after its turn.  What comes waits in the kernel.

        So does close(); both end the process with EXIT_STUCK if a worker does not stop (api.h).
        """
        lib.vx_plane_stop(self._handle)

    def turns(self) -> tuple[int, ...]:
        """Of each worker's loop so far: at least one a second, unless it is stuck."""
        return tuple(int(lib.vx_plane_turns(self._handle, i)) for i in range(self.workers))

    def threads(self) -> tuple[int, ...]:
        """Of each worker: its thread's name in /proc/self/task; 0 until it runs."""
        return tuple(int(lib.vx_plane_thread(self._handle, i)) for i in range(self.workers))

    def processor_times(self) -> tuple[ProcessorTime | None, ...]:
        """Of each worker, since its thread began; None: it does not run, or is not counted."""
        return tuple(map(_processor_time, self.threads()))

    def learned(self) -> bytes:
        """What the workers know from packets, for the plane that goes on after this one."""
        buffer = ffi.new("uint8_t[]", lib.vx_learned_size())
        check(lib.vx_plane_learned(self._handle, buffer), "learn", device=self.settings.device)
        return bytes(ffi.buffer(buffer))

    def relearn(self, learned: bytes) -> bool:
        """Takes over what another plane has learned.  False: of another version, or no memory."""
        buffer = ffi.from_buffer("uint8_t[]", learned)
        return bool(lib.vx_plane_relearn(self._handle, buffer, len(learned)) == 0)

    def commit(self, plan: Plan) -> None:
        """Puts plan into force, whole, while packets flow.  On OSError the old one stays."""
        slots = self._slots.propose((peer.outer for peer in plan.peers), settled=not self.retired)
        begun = self._read_traffic(self._slots.second_hand(slots))
        self._commit(pack_peers(plan, slots), pack_routes(plan))
        self._begun = {peer: then for peer, then in (self._begun | begun).items() if peer in slots}
        self._slots.accept(slots)

    def commit_packed(self, table: bytes) -> None:
        """Puts into force what pack_table() made of a plan.  ValueError if it did not make this."""
        self._commit(*unpack_table(table))

    def _commit(self, peers: bytes, routes: bytes) -> None:
        """Arrays of struct vx_peer and struct vx_route."""
        c_peers = ffi.from_buffer("struct vx_peer[]", peers)
        c_routes = ffi.from_buffer("struct vx_route[]", routes)
        done = lib.vx_plane_commit(self._handle, c_peers, len(c_peers), c_routes, len(c_routes))
        check(done, f"commit {len(c_routes)} routes", device=self.settings.device)

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
        """Of each peer in the table, by underlay address, since it came there."""
        peers = tuple(self._slots.by_peer)
        return dict(zip(peers, self.traffic_of(PeerGroup(peers)), strict=True))

    def traffic_of(self, group: PeerGroup) -> list[PeerTraffic]:
        """Of each peer of the group, since it came into the table; nothing if it is not there."""
        slots = group.slots(self._slots.by_peer)
        read = iter(read_traffic(self._handle, [slot for slot in slots if slot is not None]))
        rows = [NOTHING if slot is None else next(read) for slot in slots]
        if self._begun:
            rows = [
                row.since(self._begun[peer]) if peer in self._begun else row
                for peer, row in zip(group.peers, rows, strict=True)
            ]
        return rows

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


def _processor_time(thread: int) -> ProcessorTime | None:
    try:
        return parse_schedstat(Path(f"/proc/self/task/{thread}/schedstat").read_text())
    except OSError:
        return None
