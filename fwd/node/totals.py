# SPDX-License-Identifier: Apache-2.0
"""Counters over all planes of a tunnel, so that totals never go back when a plane is made anew."""

from collections import Counter
from collections.abc import Mapping

from fwd.model import Address
from fwd.plane import NOTHING, PeerGroup, PeerTraffic, Plane


class Totals:
    """What planes that are closed have counted; the open one's is added when asked for."""

    def __init__(self) -> None:
        self._carried: Counter[str] = Counter()
        self._peers: dict[Address, PeerTraffic] = {}

    def inherit(self, counters: Mapping[str, int]) -> None:
        """What another process has counted; of names that are not ours nobody asks."""
        self._carried.update(counters)

    def take_over(self, plane: Plane) -> None:
        """Before plane is closed."""
        self._peers = {peer: total for peer, total in self.peers(plane).items() if total != NOTHING}
        self._carried.update(plane.counters())

    def counters(self, plane: Plane | None) -> dict[str, int]:
        """All counters by name."""
        now = plane.counters() if plane is not None else {}
        return {name: self._carried[name] + now.get(name, 0) for name in now or self._carried}

    def peers(self, plane: Plane | None) -> dict[Address, PeerTraffic]:
        """Traffic of the peers in the table, by underlay address."""
        if plane is None:
            return self._peers
        return {
            peer: traffic.plus(self._peers[peer]) if peer in self._peers else traffic
            for peer, traffic in plane.peer_traffic().items()
        }

    def of(self, plane: Plane | None, group: PeerGroup) -> list[PeerTraffic]:
        """The same for the peers of a group, in its order."""
        if plane is None:
            return [self._peers.get(peer, NOTHING) for peer in group.peers]
        now = plane.traffic_of(group)
        if not self._peers:
            return now
        return [
            row.plus(self._peers[peer]) if peer in self._peers else row
            for peer, row in zip(group.peers, now, strict=True)
        ]
