# SPDX-License-Identifier: Apache-2.0
"""The series of each peer in Prometheus' text format: of 5,000 peers 25,000 samples.

prometheus-client would take many times as long for them.  Of a sample all but the number is
the same at each scrape, so it is made when leases have changed, and numbers are read for many peers
at once.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from operator import is_
from typing import Final, TypeAlias, TypeVar

from msgspec import Struct

from fwd.model import Lease
from fwd.ops.metricnames import PEER_METRICS, Metric
from fwd.plane import PeerGroup, PeerTraffic

Carried: TypeAlias = Callable[[int, PeerGroup], Sequence[PeerTraffic]]
"""What went to and came from each of these peers, which are of one family."""

_PEERS_AT_ONCE: Final = 50

_PLAIN: Final = re.compile(r"[\w.-]*", re.ASCII)

T = TypeVar("T")


class _Piece(Struct, frozen=True):
    """Some leases of one family.

    Attributes:
        family: 4 or 6.
        group: where they are, in their order.
        counters: of each metric that every peer has its samples, %d for each number.
        heard: when each peer was last heard, %.3f for the seconds.
    """

    family: int
    group: PeerGroup
    counters: tuple[bytes, ...]
    heard: tuple[bytes, ...]


class PeerSeries:
    """Of the leases in force."""

    def __init__(self) -> None:
        self._leases: Sequence[Lease] = ()
        self._pieces: Sequence[_Piece] = ()

    def read(
        self, leases: Sequence[Lease], carried: Carried, clock: Callable[[], float]
    ) -> Iterator[tuple[bytes, ...]]:
        """For some leases after the other the samples of each of PEER_METRICS.

        clock is CLOCK_MONOTONIC, by which it is said when a peer was last heard.
        """
        for piece in self._of(leases):
            yield tuple(_samples(piece, carried(piece.family, piece.group), now=clock()))

    def _of(self, leases: Sequence[Lease]) -> Iterator[_Piece]:
        if len(leases) == len(self._leases) and all(map(is_, leases, self._leases)):
            yield from self._pieces
            return
        pieces = []
        for piece in _pieces(leases):
            pieces.append(piece)
            yield piece
        self._leases, self._pieces = leases, pieces


def _pieces(leases: Sequence[Lease]) -> Iterator[_Piece]:
    *counters, heard = PEER_METRICS
    for some in cut(leases, _PEERS_AT_ONCE):
        for family in sorted({lease.family for lease in some}):
            of = [lease for lease in some if lease.family == family]
            labels = [_label(family, lease.node) for lease in of]
            yield _Piece(
                family,
                PeerGroup(lease.public_ip for lease in of),
                tuple(b"".join(_heads(one, labels, b"%d")) for one in counters),
                tuple(_heads(heard, labels, b"%.3f")),
            )


def _heads(metric: Metric, labels: Iterable[bytes], number: bytes) -> Iterator[bytes]:
    name = metric.name.encode()
    return (b"%b%b %b\n" % (name, label, number) for label in labels)


def _label(family: int, node: str) -> bytes:
    if not _PLAIN.fullmatch(node):
        node = node.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        node = node.replace("%", "%%")  # the number is put in by this sign
    return f'{{family="{family}",node="{node}"}}'.encode()


def _samples(piece: _Piece, carried: Sequence[PeerTraffic], *, now: float) -> Iterator[bytes]:
    """Of each of PEER_METRICS, in the form of prometheus-client, which a test compares."""
    values = (
        [one.out_packets for one in carried],
        [one.out_bytes for one in carried],
        [one.in_packets for one in carried],
        [one.in_bytes for one in carried],
    )
    for samples, column in zip(piece.counters, values, strict=True):
        yield samples % tuple(column)
    ages = [max(0.0, now - one.heard_ms / 1000) for one in carried if one.heard_ms]
    heads = (head for head, one in zip(piece.heard, carried, strict=True) if one.heard_ms)
    yield b"".join(heads) % tuple(ages)


def cut(of: Iterable[T], size: int) -> Iterator[list[T]]:
    """In pieces of so many."""
    rest = iter(of)
    while piece := list(islice(rest, size)):
        yield piece
