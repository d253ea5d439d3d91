# SPDX-License-Identifier: Apache-2.0
"""`fwd capture`: inner and outer packets as the data plane sees them, with what became of each."""

import argparse
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Protocol

import msgspec

from fwd.core.packetrecord import PacketRecord, parse_records
from fwd.core.unreadable import UNREADABLE
from fwd.model import FwdError
from fwd.ops import capturefile
from fwd.ops.capturing import FRAME, MOST_SECONDS, CaptureHeader
from fwd.ops.commands.arguments import Parser, at_least
from fwd.ops.control import GONE, CaptureRequest, Connection, Lines, refuse

_EPILOG = """\
filters, as of pcap-filter(7) for the inner packet, with what a tunnel has besides:

  [src|dst] host ADDR, [src|dst] net PREFIX, [src|dst] port N, [src|dst] portrange N-M
  ip, ip6, tcp, udp, icmp, icmp6, sctp, proto N
  peer NODE|ADDR     to or from this node, by name or underlay address
  reason NAME        dropped for this reason (docs/operations.md has them all)
  dropped, passed, inbound, outbound, inner, outer
  and or && or nothing, or, not, ( )

  fwd capture -w /tmp/x.pcapng peer n2 and tcp port 80
  fwd capture dropped
  tshark -d udp.port==8472,vxlan -r /tmp/x.pcapng
"""
_MOST_REFUSAL = 1 << 16
_SPARE_SECONDS = 5.0
"""After its time the agent has ended the capture, or does not run any more."""


class Sink(Protocol):
    """Where packets go."""

    def packet(self, index: int, record: PacketRecord) -> None:
        """One packet of tunnel `index`."""

    def end(self, lost: Iterable[int]) -> None:
        """No more packets come; so many of each tunnel are not here."""


class _File:
    """A pcapng file."""

    def __init__(self, header: CaptureHeader, out: BinaryIO) -> None:
        self._header = header
        self._out = out
        out.write(capturefile.begin(header))
        out.flush()

    def packet(self, index: int, record: PacketRecord) -> None:
        self._out.write(capturefile.packet(self._header, index, record))

    def end(self, lost: Iterable[int]) -> None:
        self._out.write(capturefile.end(time_ns=time.time_ns(), lost=lost))
        self._out.flush()


class _Lines:
    """Standard output."""

    def __init__(self, header: CaptureHeader) -> None:
        self._header = header

    def packet(self, index: int, record: PacketRecord) -> None:
        print(capturefile.line(self._header, index, record), flush=True)

    def end(self, lost: Iterable[int]) -> None:
        """Said on stderr, as with a file."""


class _Stream:
    """The agent's answer: a header, then records in the order of their time, frame by frame."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self.header = _header(lines)
        self.lost = [0] * len(self.header.tunnels)
        """Packets by tunnel, so far."""
        self.is_cut = False
        """Nobody has said that this is all."""

    def records(self) -> Iterator[tuple[int, PacketRecord]]:
        """Index of the tunnel, and the packet."""
        flowing = len(self.header.tunnels)
        while flowing and len(frame := self._lines.read_exactly(FRAME.size)) == FRAME.size:
            if frame.startswith(b"{"):  # no index of a tunnel: why it does not go on
                refuse(frame + self._lines.read_exactly(_MOST_REFUSAL))
            index, size, lost = FRAME.unpack(frame)
            self.lost[index] = lost
            flowing -= not size
            data = self._lines.read_exactly(size)
            family = self.header.tunnels[index].family
            if len(data) == size:
                records = parse_records(data, family=family)
                for record in sorted(records, key=lambda one: one.time_ns):
                    yield index, record
        self.is_cut = flowing > 0


def _header(lines: Lines) -> CaptureHeader:
    try:
        return msgspec.json.decode(next(lines), type=CaptureHeader)
    except StopIteration:
        raise FwdError("the agent ended before the capture began") from None
    except UNREADABLE as error:
        raise FwdError(f"the agent's answer is not of this version: {error}") from error


def main(argv: list[str]) -> int:
    """Until a limit is reached or Ctrl-C.  Raises FwdError where the agent ends before."""
    given = _parse(argv)
    request = CaptureRequest(
        filter=" ".join(given.filter),
        snaplen=given.snaplen,
        seconds=given.seconds,
        most_bytes=given.megabytes << 20,
    )
    with Connection(given.run_dir, request) as connection:
        stream = _Stream(connection.lines())
        connection.until(given.seconds + _SPARE_SECONDS)
        if given.write is None:
            taken = _pass(stream, _Lines(stream.header), most=given.count)
        elif str(given.write) == "-":
            taken = _pass(stream, _File(stream.header, sys.stdout.buffer), most=given.count)
        else:
            with given.write.open("wb") as out:
                taken = _pass(stream, _File(stream.header, out), most=given.count)
    print(f"{taken} packets, {sum(stream.lost)} lost", file=sys.stderr)
    if stream.is_cut:
        raise FwdError(GONE)
    return 0


def _pass(stream: _Stream, sink: Sink, *, most: int | None) -> int:
    """Hands packets on until there are no more, or enough; how many."""
    taken = 0
    try:
        with suppress(KeyboardInterrupt, BrokenPipeError):
            for index, record in stream.records():
                sink.packet(index, record)
                taken += 1
                if taken == most:
                    break
    finally:  # a file is whole, too, if the agent does not answer any more
        with suppress(BrokenPipeError):
            sink.end(stream.lost)
    return taken


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = Parser("fwd capture", "packets as they pass, to a pcapng file or as lines")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    parser.add_run_dir()
    add = parser.add_argument
    add("-w", "--write", type=Path, metavar="FILE", help="as pcapng; - is stdout")
    add("-c", "--count", type=at_least(1, int), metavar="N", help="so many packets at most")
    whole = at_least(0, int)
    add("-s", "--snaplen", type=whole, default=0, metavar="N", help="bytes of each; 0: all")
    most = f"at most; default: 60, and never more than {MOST_SECONDS:.0f}"
    add("--seconds", type=at_least(0), default=60.0, metavar="S", help=most)
    add("--megabytes", type=at_least(1, int), default=64, metavar="N", help="at most; default: 64")
    add("filter", nargs="*", metavar="FILTER", help="see below; default: everything")
    return parser.parse_args(argv)
