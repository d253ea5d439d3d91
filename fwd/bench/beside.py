# SPDX-License-Identifier: Apache-2.0
"""A flood beside a TCP stream, each measured while the other is there.

iperf3 needs a while before its first segment and after its last, and does not say when these were.
So the flood begins before it and ends after it, which makes the stream's figure one beside the
flood; and of the flood counts what was sent and arrived while the stream's bytes came, which are
seen by the link of the Pod that has nothing else.
"""

import contextlib
import re
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct, structs

from fwd.bench import traffic
from fwd.bench.loops import loops
from fwd.bench.traffic import Datagrams, Flow
from fwd.lab import probes
from fwd.lab.nodes import POD_LINK
from fwd.lab.probes import Direction, Route, Stream

_EVERY: Final = 0.02  # seconds
_EDGE: Final = 0.01  # of the stream's bytes: what else comes to the Pod is less
_MOST: Final = 30.0  # seconds that iperf3 takes beyond its stream's; it gives up earlier


class Look(Struct, frozen=True):
    """At a moment: the flood so far, and bytes that came to the stream's Pod."""

    at: float
    flood: Datagrams
    came: int


class Both(Struct, frozen=True):
    """What became of the stream and of the flood; ``beside`` it: None if there was no time at all.

    Late and doubled datagrams are those of the whole flood.
    """

    stream: Stream
    flood: Datagrams
    beside: Datagrams | None


def during(looks: Sequence[Look]) -> Datagrams | None:
    """The flood from the first to the last hundredth of the stream's bytes."""
    first, last = looks[0].came, looks[-1].came
    edge = _EDGE * (last - first)
    inside = [look for look in looks if first + edge < look.came < last - edge]
    if len(inside) < 2:
        return None
    begin, end = inside[0], inside[-1]
    return structs.replace(
        end.flood,
        sent=end.flood.sent - begin.flood.sent,
        received=end.flood.received - begin.flood.received,
        sending=end.at - begin.at,
        receiving=end.at - begin.at,
    )


def measure(flooded: Route, streamed: Route, *, size: int, seconds: int) -> Both:
    """A TCP stream on one path, to a Pod that has nothing else, and the flood on the other.

    Raises:
        OSError: a socket refused to go on.
    """
    with contextlib.ExitStack() as stack:
        flow = stack.enter_context(traffic.flowing(flooded, size=size, seconds=seconds + _MOST))
        threads = stack.enter_context(loops())
        over = threading.Event()
        stack.callback(over.set)
        looking = threads.begin(lambda: traffic.inside(streamed.target, lambda: _look(flow, over)))
        stream = probes.tcp(streamed, seconds=seconds, direction=Direction.THERE)
        over.set()
        beside = during(looking.result())
    return Both(stream, flow.so_far(), beside)


def _look(flow: Flow, over: threading.Event) -> list[Look]:
    """Again and again, in the namespace of the stream's Pod."""
    looks = []
    while True:
        looks.append(Look(time.monotonic(), flow.so_far(), _came()))
        if over.wait(_EVERY):
            return looks


def _came() -> int:
    """Bytes that this thread's Pod has got; see proc_pid_net(5)."""
    text = Path("/proc/thread-self/net/dev").read_text(encoding="ascii")
    found = re.search(rf"^\s*{POD_LINK}:\s*(\d+)", text, re.MULTILINE)
    return int(found[1]) if found else 0
