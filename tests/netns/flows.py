# SPDX-License-Identifier: Apache-2.0
"""Numbered datagrams and one TCP connection from one node to the other, while a test does things.

Both ends are threads of this process, the datagrams those of `fwd bench`: what is lost, doubled or
out of order is counted, and TCP says itself what it has sent again.
"""

import socket
import struct
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Final

from fwd.bench import traffic
from fwd.bench.traffic import Datagrams
from fwd.lab.probes import Route

_SO_MAX_PACING_RATE: Final = 47
_BYTES_A_SECOND: Final = 1_000_000
_SILENCE: Final = 90.0
"""Seconds: after two outages in a row TCP itself waits for 26 before it tries again."""
_RETRANSMITTED: Final = 100
"""Where tcpi_total_retrans stands in struct tcp_info (linux/tcp.h)."""


class Stream:
    """TCP at a steady pace, far from what the path can carry."""

    def __init__(self, path: Route) -> None:
        listener = traffic.bound(path, socket.SOCK_STREAM)
        listener.listen()
        self._source = traffic.connected(path, listener)
        self._source.setsockopt(
            socket.SOL_SOCKET, _SO_MAX_PACING_RATE, struct.pack("I", _BYTES_A_SECOND)
        )
        self._target, _ = listener.accept()
        self._target.settimeout(_SILENCE)
        listener.close()
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(2)
        self._sent = self._pool.submit(self._send)
        self._received = self._pool.submit(self._receive)

    def _send(self) -> int:
        sent = 0
        while not self._stop.is_set():
            sent += self._source.send(bytes(20_000))
        return sent

    def _receive(self) -> int:
        received = 0
        while data := self._target.recv(1 << 16):
            received += len(data)
        return received

    def end(self) -> int:
        """How many segments were sent again.  Fails if the connection did not live."""
        self._stop.set()
        sent = self._sent.result(_SILENCE)
        self._source.shutdown(socket.SHUT_WR)
        assert self._received.result() == sent > 0
        info = self._source.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
        self.close()
        return int(struct.unpack_from("I", info, _RETRANSMITTED)[0])

    def close(self) -> None:
        """May be called again."""
        self._stop.set()
        for one in (self._source, self._target):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)  # who waits there in a thread is woken
            one.close()
        self._pool.shutdown()


@contextmanager
def flowing(
    path: Route, *, rate: int, seconds: float
) -> Iterator[tuple[Future[Datagrams], Stream]]:
    """Datagrams for so long, and a stream until it is ended."""
    stream = Stream(path)
    try:
        with ThreadPoolExecutor(1) as pool:
            yield (
                pool.submit(traffic.datagrams, path, size=64, seconds=seconds, rate=rate, flows=4),
                stream,
            )
    finally:
        stream.close()
