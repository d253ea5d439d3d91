# SPDX-License-Identifier: Apache-2.0
"""Load between two namespaces, by the C module: the only one that imports it.

Sockets are opened here and used there: a socket stays in the namespace in which it was made, so
a thread enters, makes it and ends.  The hot loops run in threads of this process (cffi releases
the interpreter lock) and end by their own clock or when told to, so nothing outlives a call.  TCP
streams are iperf3's (``fwd.lab.probes``), which does them well.
"""

import contextlib
import os
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, Final, TypeVar

from msgspec import Struct

# cffi's objects are of no type that mypy knows; everything that leaves this module has one.
from fwd._traffic import ffi, lib
from fwd.bench.loops import loops
from fwd.lab import netns
from fwd.lab.probes import Route

MIN_SIZE: int = lib.TG_MIN_SIZE
MAX_SIZE: int = lib.TG_MAX_SIZE
CONNECT_LIMIT: Final = 5.0
"""Seconds: a lost SYN is sent again after 1 and after 3."""

_SNDBUFFORCE: Final = 32  # asm-generic/socket.h; Python has no names for them
_RCVBUFFORCE: Final = 33
_BUFFER: Final = 8 << 20
_ANSWER_LIMIT: Final = 1.0  # seconds
_QUIET: Final = 0.1  # seconds without a datagram after the last sender: no more will come
_SLACK: Final = 5.0  # seconds that a receiver stays beyond its senders at most
_ROOM: Final = 1 << 20  # round trips that are kept: 10 s at 10 us

T = TypeVar("T")


class Datagrams(Struct, frozen=True):
    """What some senders sent and their receiver saw.

    Attributes:
        reordered: numbers below one already seen in their flow; ``duplicate`` excluded.
        sending: seconds of the slowest sender.
        receiving: seconds from the first arrival to the last.
    """

    sent: int
    received: int
    reordered: int
    duplicate: int
    sending: float
    receiving: float

    @property
    def loss_percent(self) -> float:
        """Of what was sent; all of it when nothing was."""
        return 100.0 * max(0.0, 1 - self.received / self.sent) if self.sent else 100.0

    @property
    def sent_rate(self) -> float:
        """Datagrams a second, of all senders."""
        return self.sent / self.sending if self.sending else 0.0

    @property
    def arrival_rate(self) -> float:
        """Datagrams a second; what waits in queues when the senders end counts with its time."""
        seconds = max(self.receiving, self.sending)
        return self.received / seconds if seconds else 0.0


class RoundTrips(Struct, frozen=True):
    """Round trips in nanoseconds, sorted, and how many requests got no answer."""

    ns: tuple[int, ...]
    lost: int

    def percentile(self, share: float) -> float:
        """Microseconds that this share (0 to 1) of the round trips did not exceed."""
        if not self.ns:
            raise ValueError("no round trip was completed")
        return self.ns[min(len(self.ns) - 1, int(share * len(self.ns)))] / 1e3


class Flow:
    """Numbered UDP datagrams that are being sent to one socket."""

    def __init__(self, runs: Sequence[Any], count: Any, sending: Sequence[Future[None]]) -> None:  # noqa: ANN401
        self._runs = runs
        self._count = count
        self._sending = sending

    def wait(self) -> None:
        """Until all senders have ended, by their clock or by ``end``."""
        for one in self._sending:
            one.result()

    def end(self) -> None:
        """Tell the senders to."""
        for run in self._runs:
            run.over = 1

    def so_far(self) -> Datagrams:
        """Of senders that still send without the seconds."""
        return Datagrams(
            sent=sum(int(run.sent) for run in self._runs),
            received=int(self._count.received),
            reordered=int(self._count.reordered),
            duplicate=int(self._count.duplicate),
            sending=max(float(run.elapsed) for run in self._runs),
            receiving=float(self._count.active),
        )


@contextlib.contextmanager
def flowing(
    path: Route, *, size: int, seconds: float, senders: int = 1, rate: int = 0, flows: int = 1
) -> Iterator[Flow]:
    """Datagrams as those of ``datagrams``, which end when this does if not earlier.

    Afterwards ``so_far`` is all of it.
    """
    with contextlib.ExitStack() as stack:
        receiver = stack.enter_context(bound(path, socket.SOCK_DGRAM))
        sources = [stack.enter_context(connected(path, receiver)) for _ in range(senders * flows)]
        threads = stack.enter_context(loops())
        count = ffi.new("struct tg_receive *", {"seconds": seconds + _SLACK, "quiet": _QUIET})
        shape = {"size": size, "flows": flows, "rate": rate, "seconds": seconds}
        firsts = range(0, senders * flows, flows)
        runs = [ffi.new("struct tg_send *", shape | {"first": first}) for first in firsts]
        sending: list[Future[None]] = []
        flow = Flow(runs, count, sending)
        stack.callback(flow.end)  # before any begins: its start may be interrupted
        counting = threads.begin(lambda: _receive(receiver, threads.stop, count))
        for first, run in zip(firsts, runs, strict=True):
            sending.append(threads.begin(partial(_send, sources[first : first + flows], run)))
        yield flow
        flow.end()
        flow.wait()
        os.eventfd_write(threads.stop, 1)
        counting.result()


def datagrams(
    path: Route, *, size: int, seconds: float, senders: int = 1, rate: int = 0, flows: int = 1
) -> Datagrams:
    """Numbered UDP datagrams to one socket.

    Args:
        path: from where to where.
        size: bytes of payload of each, at least ``MIN_SIZE``.
        seconds: how long.
        senders: threads, each as fast as it can unless there is a rate.
        rate: datagrams a second and sender; 0: unpaced.
        flows: sockets of each sender.

    Raises:
        OSError: a socket refused to go on.
    """
    with flowing(path, size=size, seconds=seconds, senders=senders, rate=rate, flows=flows) as flow:
        flow.wait()
    return flow.so_far()


def round_trips(path: Route, *, kind: socket.SocketKind, size: int, seconds: float) -> RoundTrips:
    """One request after the other, of ``size`` bytes each way, on one socket of this kind.

    Who asks and who answers are kept on processors of their own, as on two machines.  Left to the
    scheduler they share one in one run and not in the next, and that alone is a factor of three.

    Raises:
        OSError: a TCP connection ended or was silent for too long.
    """
    with contextlib.ExitStack() as stack:
        servers = stack.enter_context(echo(path))
        client = stack.enter_context(connected(path, servers[kind]))
        run = ffi.new("struct tg_ping *", {"size": size, "room": _ROOM, "seconds": seconds})
        ns = ffi.new("uint32_t[]", _ROOM)
        threads = stack.enter_context(loops())
        asking = threads.begin(lambda: _on(min, lambda: lib.tg_ping(client.fileno(), ns, run)))
        _check(asking.result(), "wait for an answer")
        return RoundTrips(tuple(sorted(ns[0 : run.done])), int(run.lost))


@contextlib.contextmanager
def echo(path: Route) -> Iterator[dict[int, socket.socket]]:
    """Servers by socket type that send back what they get."""
    with contextlib.ExitStack() as stack:
        udp = stack.enter_context(bound(path, socket.SOCK_DGRAM))
        listener = stack.enter_context(bound(path, socket.SOCK_STREAM))
        listener.listen()
        threads = stack.enter_context(loops())
        fds = udp.fileno(), listener.fileno(), threads.stop
        running = threads.begin(lambda: _on(max, lambda: lib.tg_echo(*fds)))
        yield {socket.SOCK_DGRAM: udp, socket.SOCK_STREAM: listener}
    _check(running.result(), "answer")


@contextlib.contextmanager
def tunnel(tun: int, udp: socket.socket, *, whole: bool) -> Iterator[None]:
    """Carry packets, or super-packets as they are, between a TUN and a connected socket."""
    with loops() as threads:
        carry = lib.tg_relay if whole else lib.tg_proxy
        running = threads.begin(lambda: int(carry(tun, udp.fileno(), threads.stop)))
        yield
    _check(running.result(), "carry packets")


def apart(cpu: int, other: int) -> int:
    """Nanoseconds from one processor's cache to another's and back, or OSError."""
    ns = ffi.new("uint32_t *")
    _check(lib.tg_apart(cpu, other, ns), "look how far apart processors are")
    return int(ns[0])


def inside(namespace: str, what: Callable[[], T]) -> T:
    """Run ``what`` in a thread that is in the namespace."""

    def run() -> T:
        fd = os.open(netns.path(namespace), os.O_RDONLY | os.O_CLOEXEC)
        try:
            _check(lib.tg_enter(fd), f"enter {namespace}")
        finally:
            os.close(fd)
        return what()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(run).result()


def bound(path: Route, kind: socket.SocketKind, *, port: int = 0) -> socket.socket:
    """A socket at the path's target; without a port, on one of its own."""
    sock = _socket(path, path.target, kind)
    sock.bind((path.address, port))
    return sock


def connected(path: Route, server: socket.socket) -> socket.socket:
    """A socket at the path's source that is connected to the server's.

    Raises:
        OSError: it cannot be, or not in time: the kernel alone would try for two minutes.
    """
    sock = _socket(path, path.source, socket.SocketKind(server.type))
    try:
        sock.settimeout(CONNECT_LIMIT)
        sock.connect(server.getsockname())
    except TimeoutError as error:
        sock.close()
        raise TimeoutError(f"no answer from {path.address}") from error
    except BaseException:
        sock.close()
        raise
    # A timeout makes the descriptor non-blocking, and C needs one that blocks.
    sock.settimeout(None)
    # struct timeval; one of 32 bits has seconds and a zero in the first of these.
    limit = struct.pack("=qq", int(_ANSWER_LIMIT), 0)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
    return sock


def _socket(path: Route, namespace: str, kind: socket.SocketKind) -> socket.socket:
    sock = inside(namespace, lambda: socket.socket(family(path), kind))
    if kind == socket.SOCK_STREAM:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    else:
        for option in (_SNDBUFFORCE, _RCVBUFFORCE):
            sock.setsockopt(socket.SOL_SOCKET, option, _BUFFER)
    return sock


def family(path: Route) -> socket.AddressFamily:
    """As sockets want to have it."""
    return socket.AF_INET if path.family == 4 else socket.AF_INET6


def _on(which: Callable[[set[int]], int], what: Callable[[], int]) -> int:
    """Run ``what`` with this thread kept on one processor, the first (min) or the last (max)."""
    os.sched_setaffinity(0, {which(os.sched_getaffinity(0))})
    return what()


def _send(sources: Sequence[socket.socket], run: Any) -> None:  # noqa: ANN401
    fds = ffi.new("int[]", [source.fileno() for source in sources])
    _check(lib.tg_send(fds, run), "send")


def _receive(sock: socket.socket, stop: int, run: Any) -> None:  # noqa: ANN401
    _check(lib.tg_receive(sock.fileno(), stop, run), "receive")


def _check(done: int, what: str) -> None:
    if done < 0:
        raise OSError(-done, f"cannot {what}: {os.strerror(-done)}")
