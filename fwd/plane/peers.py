# SPDX-License-Identifier: Apache-2.0
"""Traffic of each peer: which place its counters have in C, and what they say.

A peer is its underlay address here: that is all that an arriving datagram tells, and in one family
no two leases have the same.  It keeps its slot from commit to commit (cext/peers.h).
"""

import struct
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, repeat
from typing import Any, Final

from msgspec import Struct

from fwd._plane import ffi, lib
from fwd.model import Address

SLOTS: int = lib.VX_PEER_SLOTS
SHARED = 0
"""The slot of all peers for which there is none of their own."""

_TRAFFIC = struct.Struct("=5Q")
assert _TRAFFIC.size == ffi.sizeof("struct vx_peer_traffic")


class PeerTraffic(Struct, frozen=True):
    """Inner packets and bytes to and from one peer, as they are on the wire."""

    out_packets: int = 0
    out_bytes: int = 0
    in_packets: int = 0
    in_bytes: int = 0
    heard_ms: int = 0
    """When it was last heard: CLOCK_MONOTONIC, a few milliseconds coarse.  0: never."""

    def plus(self, other: "PeerTraffic") -> "PeerTraffic":
        """Both together."""
        return PeerTraffic(
            self.out_packets + other.out_packets,
            self.out_bytes + other.out_bytes,
            self.in_packets + other.in_packets,
            self.in_bytes + other.in_bytes,
            max(self.heard_ms, other.heard_ms),
        )

    def since(self, start: "PeerTraffic") -> "PeerTraffic":
        """What came after start."""
        return PeerTraffic(
            self.out_packets - start.out_packets,
            self.out_bytes - start.out_bytes,
            self.in_packets - start.in_packets,
            self.in_bytes - start.in_bytes,
            self.heard_ms if self.heard_ms > start.heard_ms else 0,
        )


NOTHING: Final = PeerTraffic()


class PeerSlots:
    """Who has which slot.  One whose owner is gone rests as long as a table may know it."""

    def __init__(self, slots: int = SLOTS) -> None:
        self.by_peer: dict[Address, int] = {}
        """In the order of the table in force."""
        self._end = slots
        self._next = SHARED + 1
        """Slots from here on have never been used."""
        self._free: list[int] = []
        self._resting: list[int] = []

    def propose(self, peers: Iterable[Address], *, settled: bool) -> dict[Address, int]:
        """Slots for the peers of the next table: the ones they have, or the lowest there are.

        settled: no table is left but the one in force.
        """
        if settled:
            self._free = sorted(self._free + self._resting)
            self._resting = []
        supply = chain(self._free, range(self._next, self._end), repeat(SHARED))
        slots: dict[Address, int] = {}
        for peer in peers:
            if peer not in slots:
                slots[peer] = self.by_peer.get(peer) or next(supply)
        return slots

    def second_hand(self, slots: dict[Address, int]) -> dict[Address, int]:
        """Those of the proposed ones that had another owner."""
        return {
            peer: slot
            for peer, slot in slots.items()
            if peer not in self.by_peer and SHARED < slot < self._next
        }

    def accept(self, slots: dict[Address, int]) -> None:
        """The table with these is in force."""
        used = set(slots.values())
        self._resting += [
            slot for peer, slot in self.by_peer.items() if peer not in slots and slot != SHARED
        ]
        self._free = [slot for slot in self._free if slot not in used]
        self._next = max(self._next, max(used, default=SHARED) + 1)
        self.by_peer = slots


class PeerGroup:
    """Peers whose traffic is read together and often: their slots are looked up once a table."""

    def __init__(self, peers: Iterable[Address]) -> None:
        self.peers = tuple(peers)
        self._table: Mapping[Address, int] = {}
        self._slots: tuple[int | None, ...] = (None,) * len(self.peers)

    def slots(self, table: Mapping[Address, int]) -> tuple[int | None, ...]:
        """Of each peer, None if it has none; table is never changed, but replaced."""
        if table is not self._table:
            self._table, self._slots = table, tuple(map(table.get, self.peers))
        return self._slots


def read_traffic(handle: Any, slots: Sequence[int]) -> list[PeerTraffic]:  # noqa: ANN401
    """Traffic of these slots of a plane, over all its workers."""
    out = ffi.new("struct vx_peer_traffic[]", len(slots))
    lib.vx_plane_peers(handle, ffi.new("uint32_t[]", slots), len(slots), out)
    return [PeerTraffic(*row) for row in _TRAFFIC.iter_unpack(ffi.buffer(out))]
