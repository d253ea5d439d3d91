# SPDX-License-Identifier: Apache-2.0
"""What the agent tells by itself while packets flow: offloads that fell back, reasons for drops.

Each once, or seldom: a node under attack must not fill its disk with lines about it.
"""

from collections.abc import Callable, Mapping

from fwd.core.dropwatch import DropWatch
from fwd.core.processortime import ProcessorTime, ProcessorWatch
from fwd.ops import log
from fwd.plane import ALL_OFFLOADS, CounterInfo, CounterKind, Offload, counter_info


def drop_reasons() -> tuple[CounterInfo, ...]:
    """The counters that count lost packets."""
    return tuple(info for info in counter_info() if info.kind is not CounterKind.TRAFFIC)


class Reporter:
    """Remembers what was told."""

    def __init__(self) -> None:
        self._fallen = Offload(0)
        self._disabled = Offload(0)
        self._refusals = DropWatch()
        self._drops = DropWatch()
        self._processors = ProcessorWatch()

    def offloads(self, wanted: Offload, in_force: Offload) -> None:
        """Tells each offload that is not in force, once: by option, or by the kernel's word."""
        for flag in ALL_OFFLOADS & ~wanted & ~self._disabled:
            log.info("offload-disabled", offload=flag.names[0], text=_SLOWER[flag])
        self._disabled |= ALL_OFFLOADS & ~wanted
        fallen = wanted & ~in_force
        for flag in fallen & ~self._fallen:
            log.warning("offload-fallen-back", offload=flag.names[0], text=_SLOWER[flag])
        self._fallen |= fallen

    def inherit(self, totals: Mapping[str, int]) -> None:
        """What the agent before this one has counted, and told; before the first of our own."""
        self._drops.inherit(totals)
        self._refusals.inherit(totals)

    def drops(self, totals: dict[str, int], *, now: float) -> None:
        """Tells the reasons that are due; `now` is monotonic, in seconds."""
        texts = {info.name: info.text for info in drop_reasons() if info.name not in _QUIET}
        for report in self._drops.observe(totals, texts, now=now):
            log.warning(
                "drops",
                reason=report.reason,
                count=report.count,
                total=report.total,
                text=texts[report.reason],
            )
        for report in self._refusals.observe(totals, (_REFUSED,), now=now):
            log.info(
                "udp-segment-refused",
                count=report.count,
                text="the path to some peer takes no batches, or smaller packets only; sent one by"
                " one there",
            )

    def processors(
        self, look: Callable[[], dict[tuple[str, int], ProcessorTime]], *, now: float
    ) -> None:
        """Tells the workers that mostly wait, by device and number; looks seldom."""
        if not self._processors.is_due(now):
            return
        for one in self._processors.observe(look(), now=now):
            log.warning(
                "worker-waits",
                device=one.device,
                worker=one.worker,
                ran=round(one.time.ran_seconds, 1),
                waited=round(one.time.waited_seconds, 1),
                text="seconds of the last minute: other processes have the processors, and packets"
                " wait; a larger CPU request of this Pod changes that",
            )


_REFUSED = "out_gso_refused"

_QUIET = {"out_multicast"}
"""What happens on every node and is nobody's fault."""

_SLOWER = {
    Offload.VNET_HDR: "packets cross the TUN one at a time, finished and MTU-sized",
    Offload.TSO: "the kernel cuts outgoing TCP into MTU-sized packets",
    Offload.USO: "the kernel cuts outgoing UDP batches into single datagrams",
    Offload.MULTI_QUEUE: "one worker does all the work, and all flows share its queue",
    Offload.UDP_SEGMENT: "each outer datagram is handed to the kernel by itself",
    Offload.UDP_GRO: "outer datagrams are received one by one",
    Offload.TUNNEL_GSO: "what TCP sends is cut by the agent, as it is without --tunnel-gso",
}
