# SPDX-License-Identifier: Apache-2.0
"""A capture, on the agent's side: from the rings of the data plane to whoever asked.

First a line of JSON (CaptureHeader), then frames: a FRAME and so many bytes of records
(`core.packetrecord`) of one tunnel, the last one of each tunnel empty.  The control thread parses
nothing of it: a busy node makes some 100,000 records a second.  What the asker is too slow for is
lost, and counted; at most one capture runs at a time.
"""

import asyncio
import errno
import struct
from collections.abc import Callable, Iterable, Mapping

from msgspec import Struct

from fwd.core.capturefilter import PeerNets, Step, parse_filter
from fwd.model import FwdError
from fwd.ops import log
from fwd.ops.control import Asker, CaptureRequest
from fwd.plane import CounterKind, Plane, counter_info

FRAME = struct.Struct("=BxxxIQ")
"""Index of the tunnel, bytes that follow, its records lost so far."""
MOST_SECONDS = 3600.0
MOST_SNAPLEN = 65535 + 22
RING_BYTES = 4 << 20
"""A worker, while a capture runs: 4 ms of 10 Gbit/s."""
_POLL_SECONDS = 0.02
_NO_LIMIT = 1 << 62


class CapturedTunnel(Struct, frozen=True, rename="kebab"):
    """What the outer headers are made of, which a record does not have."""

    device: str
    family: int
    underlay: str
    """Name of the interface."""
    address: str
    """This node's in the underlay."""
    port: int
    """UDP, of VXLAN."""


class CaptureHeader(Struct, frozen=True, rename="kebab"):
    """What the records mean."""

    node: str
    version: str
    snaplen: int
    tunnels: tuple[CapturedTunnel, ...]
    reasons: tuple[str, ...]
    """Of drops, by verdict; empty for a counter that is none."""
    nodes: dict[str, str]
    """By underlay address."""


class Tap(Struct, frozen=True):
    """A tunnel; its plane may come, go and be another one."""

    described: CapturedTunnel
    plane: Callable[[], Plane | None]


class Capturing:
    """Serves captures, one at a time."""

    def __init__(self) -> None:
        self._runs = False

    async def serve(
        self,
        asker: Asker,
        request: CaptureRequest,
        *,
        taps: Iterable[Tap],
        header: CaptureHeader,
        peers: Mapping[str, PeerNets],
    ) -> None:
        """Until the asker has gone, or a limit is reached.  Raises FwdError if it cannot begin."""
        if request.seconds > MOST_SECONDS:
            raise FwdError(f"a capture lasts for {MOST_SECONDS:.0f} seconds at most")
        if self._runs:
            raise FwdError("a capture runs already, and there can be one at a time")
        steps = parse_filter(request.filter, peers=peers, reasons=header.reasons)
        session = _Session(tuple(taps), steps, snaplen=header.snaplen)
        self._runs = True
        log.info("capture-begins", filter=request.filter or "everything")
        try:
            await asker.send_line(header)
            await session.run(asker, seconds=request.seconds, most_bytes=request.most_bytes)
        finally:
            session.end()
            self._runs = False
            log.info("capture-ends", bytes=session.sent, lost=session.lost)


class _Session:
    def __init__(self, taps: tuple[Tap, ...], steps: tuple[Step, ...], *, snaplen: int) -> None:
        self._taps = taps
        self._steps = steps
        self._snaplen = snaplen
        self._planes: list[Plane | None] = [None] * len(taps)
        self._lost = [0] * len(taps)
        self._lost_before = [0] * len(taps)
        """By planes that are closed."""
        self.sent = 0

    @property
    def lost(self) -> int:
        """Records without room, of all tunnels."""
        return sum(self._lost)

    async def run(self, asker: Asker, *, seconds: float, most_bytes: int) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + max(seconds, 0.0)
        left = most_bytes if most_bytes > 0 else _NO_LIMIT
        wait = 0.0
        while loop.time() < end and self.sent < left and await asker.stays(wait):
            took = 0
            for index in range(len(self._taps)):
                took += await self._forward(index, asker)
            # At once while there is more, but never without a look at everything else.
            wait = 0.0 if took else min(_POLL_SECONDS, max(0.0, end - loop.time()))
        for index in range(len(self._taps)):
            await self._forward(index, asker)
        for index, lost in enumerate(self._lost):
            await asker.send(FRAME.pack(index, 0, lost))

    async def _forward(self, index: int, asker: Asker) -> int:
        plane = self._plane(index)
        if plane is None:
            return 0
        data, lost = plane.captured()
        self._lost[index] = self._lost_before[index] + lost
        if data:
            await asker.send(FRAME.pack(index, len(data), self._lost[index]) + data)
            self.sent += len(data)
        return len(data)

    def _plane(self, index: int) -> Plane | None:
        """The plane of the moment, with a capture that runs."""
        plane = self._taps[index].plane()
        if plane is not None and plane is not self._planes[index]:
            try:
                plane.start_capture(self._steps, snaplen=self._snaplen, ring_bytes=RING_BYTES)
            except OSError as error:
                if error.errno == errno.EBUSY:
                    return None  # the one before has only just ended: soon
                raise FwdError(f"{error.strerror or error}") from error
            self._planes[index] = plane
            self._lost_before[index] = self._lost[index]
        return plane

    def end(self) -> None:
        """Of what was begun."""
        for plane in self._planes:
            if plane is not None:
                plane.end_capture()


def header_of(
    request: CaptureRequest,
    *,
    node: str,
    version: str,
    taps: Iterable[Tap],
    nodes: dict[str, str],
) -> CaptureHeader:
    """The answer's first line."""
    asked = request.snaplen
    return CaptureHeader(
        node=node,
        version=version,
        snaplen=min(asked, MOST_SNAPLEN) if asked > 0 else MOST_SNAPLEN,
        tunnels=tuple(tap.described for tap in taps),
        reasons=tuple(
            "" if info.kind is CounterKind.TRAFFIC else info.name for info in counter_info()
        ),
        nodes=nodes,
    )
