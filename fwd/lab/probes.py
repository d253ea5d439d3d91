# SPDX-License-Identifier: Apache-2.0
"""One measurement between two namespaces: ping, a TCP stream, a UDP stream.

The measuring is done by ping and iperf3; what they print is read by the pure functions
``read_ping`` and ``read_iperf``.  A measurement that fails is a result that says why, not an
exception: the matrix goes on.
"""

import contextlib
import enum
import re
import selectors
import subprocess
import time
from collections.abc import Iterator
from typing import Any, Final

import msgspec
from msgspec import Struct

from fwd.lab import child, congestion, netns
from fwd.lab.errors import LabError

PINGS: Final = 10
# Seconds.  After the last request ping waits as long, or for two of the longest round trips: an
# answer that a busy machine gives later than that counts as lost.
_PING_INTERVAL: Final = 0.1
_PING_WAIT: Final = 1.0  # for an answer

# A rate that no data plane worth the name loses anything at, so that what is lost was lost by a
# fault, and enough datagrams for a few per cent to show: 0.1 s.
_UDP_RATE: Final = "40M"
_UDP_DATAGRAMS: Final = 400
_UDP_HEADERS: Final = {4: 28, 6: 48}

_IPERF_PORT: Final = 5201
_CONNECT_LIMIT: Final = 3.0  # seconds
_SLACK: Final = 6.0  # seconds beyond the stream itself; connecting is within it


class Direction(enum.Enum):
    """Which way a stream flows; the source always opens the connection."""

    THERE = "there"
    BACK = "back"


class Ping(Struct, frozen=True):
    """Echo requests sent and answered; ``rtt_ms`` is the mean, None without an answer."""

    sent: int
    received: int
    rtt_ms: float | None = None
    error: str | None = None

    @property
    def loss_percent(self) -> float:
        """Of what was sent; all of it when nothing could be sent."""
        return 100.0 * (1 - self.received / self.sent) if self.sent else 100.0


class Stream(Struct, frozen=True):
    """A stream as its receiver saw it; ``lost_percent`` of a UDP, ``retransmits`` of a TCP one.

    Attributes:
        received_bytes: all of them; a receiver's stream is not as long as it was asked to be.
    """

    gbit: float = 0.0
    received_bytes: int = 0
    lost_percent: float | None = None
    retransmits: int | None = None
    error: str | None = None


class Route(Struct, frozen=True):
    """From which namespace, to which, at which address, with which MTU."""

    source: str
    target: str
    address: str
    family: int
    mtu: int


def ping(path: Route) -> Ping:
    """Ten echo requests in a second."""
    options = f"-n -q -c {PINGS} -i {_PING_INTERVAL} -W {_PING_WAIT:.0f}"
    argv = netns.inside(path.source, "ping", *options.split(), path.address)
    try:
        result = child.run(argv, limit=PINGS * _PING_INTERVAL + _PING_WAIT + _SLACK)
    except LabError as slow:
        return Ping(0, 0, error=str(slow))
    return read_ping(result.out) or Ping(0, 0, error=result.last_line)


def read_ping(text: str) -> Ping | None:
    """The summary that iputils' ping prints; None if there is none."""
    count = re.search(r"(\d+) packets transmitted, (\d+) received", text)
    if not count:
        return None
    mean = re.search(r"^rtt min/avg/max/mdev = [\d.]+/([\d.]+)/", text, re.MULTILINE)
    return Ping(int(count[1]), int(count[2]), float(mean[1]) if mean else None)


def tcp(path: Route, *, seconds: int, direction: Direction, streams: int = 1) -> Stream:
    """One TCP stream, or the sum of several at once."""
    # For an end that is a node, whose routes are the data plane's: Pods have it by theirs.
    cubic = ["-C", "cubic"] if congestion.has_cubic() else []
    options = ["-t", str(seconds), "-P", str(streams), *cubic]
    return _iperf(path, [*options, *(["-R"] if direction is Direction.BACK else [])], seconds)


def udp(path: Route) -> Stream:
    """Datagrams that just fill the MTU, at a modest rate.

    What overflowed the receiver's own socket did arrive, and is not counted as lost: a busy machine
    may keep iperf3 from its processor for longer than the buffer lasts.
    """
    length = path.mtu - _UDP_HEADERS[path.family]
    options = f"-u -b {_UDP_RATE} -k {_UDP_DATAGRAMS} -l {length}"
    before = _overflowed(path)
    stream = _iperf(path, options.split(), 1)
    return arrived(stream, overflowed=_overflowed(path) - before)


def arrived(stream: Stream, *, overflowed: int) -> Stream:
    """A UDP stream without the loss of so many datagrams, in per cent of all."""
    if not stream.lost_percent:
        return stream
    lost = stream.lost_percent - 100.0 * overflowed / _UDP_DATAGRAMS
    return msgspec.structs.replace(stream, lost_percent=max(lost, 0.0))


def _overflowed(path: Route) -> int:
    """Datagrams that sockets of the target had no room for, since ever (proc_net(5))."""
    shown = child.run(netns.inside(path.target, "cat", "/proc/net/snmp", "/proc/net/snmp6"))
    return read_overflowed(shown.out, path.family)


def read_overflowed(text: str, family: int) -> int:
    """The kernel's counter of that, out of its two files; 0 where it has none."""
    if family == 6:
        found = re.search(r"^Udp6RcvbufErrors\s+(\d+)", text, re.MULTILINE)
        return int(found[1]) if found else 0
    rows = [line.split() for line in text.splitlines() if line.startswith("Udp:")]
    return int(dict(zip(*rows, strict=True)).get("RcvbufErrors", 0)) if len(rows) == 2 else 0


def read_iperf(text: str) -> Stream:
    """The document of ``iperf3 --json``, of client versions 3.9 to 3.18."""
    try:
        document: dict[str, Any] = msgspec.json.decode(text)
        if "error" in document:
            return Stream(error=str(document["error"]))
        end = document["end"]
        # Before 3.10 a UDP client has "sum" only, and there it is the receiver's account.
        seen = end.get("sum_received") or end["sum"]
        gbit, size = float(seen["bits_per_second"]) / 1e9, int(seen["bytes"])
        if "lost_packets" not in seen:
            again = end["sum_sent"].get("retransmits")
            return Stream(gbit=gbit, received_bytes=size, retransmits=again)
        # Loss is what the receiver saw gaps for.  Packets sent less packets received is not:
        # the receiver stops counting when it hears that the sender is done, and the last few
        # datagrams may then still wait in its socket.
        lost, packets = seen["lost_packets"], seen["packets"]
        share = 100.0 * lost / packets if packets else 100.0
        return Stream(gbit=gbit, received_bytes=size, lost_percent=share)
    except (msgspec.DecodeError, AttributeError, KeyError, TypeError, ValueError):
        return Stream(error=f"cannot read iperf3's output: {text.strip()[:60]!r}")


def _iperf(path: Route, options: list[str], seconds: int) -> Stream:
    argv = netns.inside(
        path.source,
        *(child.find("iperf3") or "iperf3", "-c", path.address, "-p", str(_IPERF_PORT), "--json"),
        *("--connect-timeout", str(int(_CONNECT_LIMIT * 1000))),
        *options,
    )
    try:
        with _server(path.target):
            result = child.run(argv, limit=seconds + _SLACK)
    except LabError as failed:
        return Stream(error=str(failed))
    return read_iperf(result.out) if result.out.strip() else Stream(error=result.last_line)


@contextlib.contextmanager
def _server(namespace: str) -> Iterator[None]:
    """An iperf3 that serves one test.

    One each, because a server whose client has been killed stays busy and spoils what follows.
    """
    iperf = child.find("iperf3") or "iperf3"
    # No word each second (-i 0): nobody reads them, and a full pipe would stop it.
    words = ("-s", "-1", "-i", "0", "-p", str(_IPERF_PORT), "--forceflush")
    argv = netns.inside(namespace, iperf, *words)
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        try:
            _await_listening(process)
            yield
        finally:
            process.kill()


def _await_listening(process: "subprocess.Popen[bytes]") -> None:
    assert process.stdout is not None
    said = b""
    deadline = time.monotonic() + _CONNECT_LIMIT
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while b"listening" not in said:
            left = deadline - time.monotonic()
            if left <= 0 or not selector.select(left):
                raise LabError("iperf3 -s does not say that it listens")
            more = process.stdout.read1(4096)  # type: ignore[attr-defined]  # a BufferedReader
            if not more:
                lines = said.decode(errors="replace").split("\n")
                raise LabError(f"iperf3 -s ended: {' '.join(lines).strip()[-80:]}")
            said += more
