# SPDX-License-Identifier: Apache-2.0
"""Dropped packets for people: the last ones that the data plane has told of, and those to come.

The data plane tells of a few a second for each reason (cext/trace.h); the counters count them all.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime

from msgspec import Struct

from fwd.core.innerpacket import inner_bytes, parse_inner
from fwd.core.lastofeach import LastOfEach
from fwd.core.packetrecord import PacketRecord, parse_records
from fwd.model import Address
from fwd.ops.control import Asker
from fwd.plane import Plane, counter_info

MOST_KEPT = 256
"""Of each reason: a flood of one hides no other.  The data plane tells ten a second and worker."""
FOLLOW_SECONDS = 0.2


class View(Struct, frozen=True):
    """A tunnel to look at, and who is who there."""

    device: str
    family: int
    plane: Plane
    nodes: Mapping[Address, str]
    """By underlay address."""


class DropLine(Struct, frozen=True, omit_defaults=True):
    """One dropped packet."""

    time: str
    """RFC 3339, UTC."""
    device: str
    direction: str
    """`in`: from another node, `out`: from this one."""
    reason: str
    text: str
    length: int
    """Bytes of the inner packet as far as it can be told, headers included."""
    head: str
    """Its first bytes, in hexadecimal."""
    packets: int = 1
    """On the wire that it stands for."""
    node: str = ""
    """The other one, if it is known."""
    outer: str = ""
    """Its underlay address."""
    src: str = ""
    dst: str = ""
    protocol: str = ""
    sport: int | None = None
    dport: int | None = None


class DropLog:
    """Remembers the last drops of each reason, so that a follower misses none."""

    def __init__(self, views: Callable[[], Iterable[View]]) -> None:
        self._views = views
        self._kept: LastOfEach[DropLine] = LastOfEach(MOST_KEPT)

    def collect(self) -> None:
        """Takes what the data plane has; to be called each second, or it runs over."""
        for view in self._views():
            data = view.plane.drops()
            for record in parse_records(data, family=view.family):
                line = _line(view, record)
                self._kept.add(line.reason, line)

    async def serve(self, asker: Asker, *, follow: bool) -> None:
        """Sends what is remembered, oldest first, and then, if asked to, what comes."""
        self.collect()
        sent = 0
        while True:
            lines, sent = self._kept.since(sent), self._kept.count
            for line in lines:
                await asker.send_line(line)
            if not follow or not await asker.stays(FOLLOW_SECONDS):
                return
            self.collect()


def _line(view: View, record: PacketRecord) -> DropLine:
    info = counter_info()[record.verdict]
    packet = inner_bytes(record)
    inner = parse_inner(packet)
    return DropLine(
        time=stamp(record.time_ns),
        device=view.device,
        direction="in" if record.point.is_inbound else "out",
        reason=info.name,
        text=info.text,
        length=record.length - (len(record.data) - len(packet)),
        head=packet.hex(),
        packets=record.packets,
        node=view.nodes.get(record.outer, "") if record.outer else "",
        outer=str(record.outer or ""),
        src=str(inner.src) if inner else "",
        dst=str(inner.dst) if inner else "",
        protocol=inner.protocol if inner else "",
        sport=inner.sport if inner else None,
        dport=inner.dport if inner else None,
    )


def stamp(time_ns: int) -> str:
    """RFC 3339 in UTC, to the microsecond."""
    seconds, rest = divmod(time_ns, 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest // 1000:06d}Z"
