# SPDX-License-Identifier: Apache-2.0
"""A stream of bytes, cut anywhere, into lines of bounded length."""

from collections.abc import Iterator

from msgspec import Struct

LINE_LIMIT = 4 << 20
"""etcd takes objects of up to 1.5 MiB, whose JSON may be some times as long."""

START_BYTES = 4096
"""Of what is too long: so much is kept, to name it by."""


class TooLong(Struct, frozen=True):
    """A line beyond the limit: its first bytes, the rest was dropped as it came."""

    start: bytes


class LineSplitter:
    """Splits at line feeds.  It never holds more than a line of `limit` bytes and a chunk."""

    def __init__(self, limit: int = LINE_LIMIT) -> None:
        self._limit = limit
        self._tail = bytearray()
        self._dropped: bytes | None = None
        """The start of a line that is being dropped."""

    def feed(self, chunk: bytes) -> Iterator[bytes | TooLong]:
        """The lines that this chunk completes, without their line feeds; empty ones are left out.

        The iterator must be used up before the next chunk is fed.
        """
        first, *rest = chunk.split(b"\n")
        self._extend(first)
        for part in rest:
            if self._dropped is not None:
                yield TooLong(self._dropped)
            elif self._tail:
                yield bytes(self._tail)
            self._dropped = None
            self._tail = bytearray()
            self._extend(part)

    @property
    def partial(self) -> bool:
        """Whether the stream so far ends within a line."""
        return bool(self._tail) or self._dropped is not None

    def _extend(self, part: bytes) -> None:
        if self._dropped is not None:
            return
        if len(self._tail) + len(part) > self._limit:
            self._dropped = bytes((self._tail + part[:START_BYTES])[:START_BYTES])
            self._tail = bytearray()
        else:
            self._tail += part
