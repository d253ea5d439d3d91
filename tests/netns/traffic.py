# SPDX-License-Identifier: Apache-2.0
"""Traffic between two namespaces, both ends in this process: what arrives is compared byte by byte.

Every wait is bounded by the sockets' time limit (sockets.LIMIT).
"""

import hashlib
import json
import os
import random
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Final

from fwd.lab.netns import inside
from tests.netns import frames
from tests.netns.sockets import (
    LIMIT,
    SOL_UDP,
    UDP_GRO,
    UDP_SEGMENT,
    af_of,
    any_like,
    open_in,
    udp_in,
)
from tests.netns.topo import Net

SLOWER: Final = int(os.environ.get("FWD_TEST_SLOWER", "1"))
"""How many times slower than usual packets are moved: under a sanitizer (tests/sanitized.py)."""
MEGABYTE: Final = 1 << 20
_CHUNK: Final = 1 << 18
_BURST: Final = 64  # datagrams
_BURST_BYTES: Final = 1 << 19
_QUIET: Final = 10.0  # seconds without a datagram: no more will come
_noise = random.Random(1).randbytes(1 << 16)


def content(seed: int, size: int) -> bytes:
    """Bytes that differ between seeds."""
    start = seed * 7919 % 251
    return (_noise[start:] * (size // (len(_noise) - start) + 1))[:size]


@contextmanager
def tcp_pair(
    source: str, target: str, address: str
) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A connection that namespace `source` has opened to an address of namespace `target`."""
    with ExitStack() as stack:
        family = af_of(address)
        listener = stack.enter_context(open_in(target, family, socket.SOCK_STREAM))
        listener.bind((address, 0))
        listener.listen(1)
        client = stack.enter_context(open_in(source, family, socket.SOCK_STREAM))
        client.connect(listener.getsockname())
        server, _ = listener.accept()
        stack.enter_context(server)
        server.settimeout(LIMIT)
        yield client, server


def tcp_exchange(source: str, target: str, address: str, *, size: int) -> None:
    """Sends size bytes each way over one connection, at once, and compares their hashes."""
    data = random.Random(size).randbytes(size)
    wanted = hashlib.sha256(data).hexdigest()
    with tcp_pair(source, target, address) as (client, server), ThreadPoolExecutor(4) as pool:
        got = [pool.submit(_read_to_end, end) for end in (client, server)]
        sent = [pool.submit(_write_to_end, end, data) for end in (client, server)]
        for writer in sent:
            writer.result()
        for reader in got:
            assert reader.result() == wanted


def _write_to_end(sock: socket.socket, data: bytes) -> None:
    sock.sendall(data)
    sock.shutdown(socket.SHUT_WR)


def _read_to_end(sock: socket.socket) -> str:
    got = hashlib.sha256()
    while data := sock.recv(_CHUNK):
        got.update(data)
    return got.hexdigest()


class Load:
    """A TCP connection that carries data until it is told to end."""

    def __init__(self, source: socket.socket, target: socket.socket) -> None:
        self._source = source
        self._target = target
        self._stop = threading.Event()
        self.received = 0

    def send(self) -> str:
        """The sender's thread: the hash of what was sent."""
        sent = hashlib.sha256()
        while not self._stop.is_set():
            self._source.sendall(_noise)
            sent.update(_noise)
        self._source.shutdown(socket.SHUT_WR)
        return sent.hexdigest()

    def receive(self) -> str:
        """The receiver's thread: the hash of what arrived."""
        got = hashlib.sha256()
        while data := self._target.recv(_CHUNK):
            got.update(data)
            self.received += len(data)
        return got.hexdigest()

    def stop(self) -> None:
        """The sender closes after what it is about to send."""
        self._stop.set()


@contextmanager
def tcp_load(source: str, target: str, address: str) -> Iterator[Load]:
    """A TCP flow beside the test; afterwards it must have arrived whole, over one connection."""
    with tcp_pair(source, target, address) as (client, server), ThreadPoolExecutor(2) as pool:
        # A window well below the node's receive buffer: what is injected beside must fit in.
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 19)
        load = Load(client, server)
        sent, got = pool.submit(load.send), pool.submit(load.receive)
        try:
            yield load
        finally:
            load.stop()
        assert sent.result() == got.result()
        assert load.received > 0


def paced(send: Callable[[bytes], object], payloads: Sequence[bytes], *, burst: int = 8) -> None:
    """Sends them with a pause after each burst, so that no queue on the way runs over."""
    for at in range(0, len(payloads), burst):
        for payload in payloads[at : at + burst]:
            send(payload)
        time.sleep(0.001)


def receive(sock: socket.socket, count: int) -> list[bytes]:
    """Datagrams until there are count of them, or no more come."""
    got: list[bytes] = []
    sock.settimeout(_QUIET)
    try:
        while len(got) < count:
            got.append(sock.recv(1 << 16))
    except TimeoutError:
        pass
    return got


def receive_gro(sock: socket.socket, count: int) -> list[bytes]:
    """The same from a socket with UDP_GRO: aggregates are cut at the size that the kernel tells."""
    got: list[bytes] = []
    sock.settimeout(_QUIET)
    try:
        while len(got) < count:
            data, control, _, _ = sock.recvmsg(1 << 16, 64)
            size = len(data)
            for level, kind, value in control:
                if (level, kind) == (SOL_UDP, UDP_GRO):
                    size = struct.unpack("i", value)[0]
            got += [data[at : at + size] for at in range(0, len(data), size)]
    except TimeoutError:
        pass
    return got


def numbered(count: int, size: int) -> list[bytes]:
    """Datagrams of which no two are alike: a number, then its content."""
    return [struct.pack("!I", number) + content(number, size - 4) for number in range(count)]


def udp_stream(source: str, target: str, address: str, *, count: int, size: int) -> None:
    """Datagrams without a pause of their own: all arrive, once, in order, unchanged."""
    udp_flow(source, target, address, numbered(count, size))


def udp_flow(source: str, target: str, address: str, sent: Sequence[bytes]) -> None:
    """The same with datagrams of the caller's.

    They go in bursts, each when the last has arrived, so that no machine is too slow for them.
    """
    burst = max(1, min(_BURST, _BURST_BYTES // max(map(len, sent))))
    got: list[bytes] = []
    with udp_in(target, address) as server, udp_in(source, any_like(address)) as client:
        client.connect(server.getsockname())
        for at in range(0, len(sent), burst):
            for payload in sent[at : at + burst]:
                client.send(payload)
            got += receive(server, len(sent[at : at + burst]))
            if len(got) < min(at + burst, len(sent)):
                raise AssertionError(f"{len(got)} of {len(sent)} arrived; {_losses(target)}")
    assert_same(got, sent)


def _losses(namespace: str) -> str:
    """What the kernel counted there that a datagram may have been lost by."""
    command = inside(namespace, "nstat", "-asj")
    done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    counts = json.loads(done.stdout)["kernel"]
    told = {name: n for name, n in counts.items() if n and name.startswith(("Ip", "Udp"))}
    return f"the kernel of {namespace} counts {told}"


def segmented(source: str, target: str, address: str, *, data: bytes, size: int, gro: bool) -> None:
    """One send with UDP_SEGMENT: every datagram arrives in order with its size and content."""
    wanted = [data[at : at + size] for at in range(0, len(data), size)]
    with udp_in(target, address) as server, udp_in(source, any_like(address)) as client:
        if gro:
            server.setsockopt(SOL_UDP, UDP_GRO, 1)
        control = [(SOL_UDP, UDP_SEGMENT, struct.pack("H", size))]
        client.sendmsg([data], control, 0, server.getsockname())
        got = (receive_gro if gro else receive)(server, len(wanted))
    assert_same(got, wanted)


def assert_same(got: Sequence[bytes], wanted: Sequence[bytes]) -> None:
    """The same datagrams; a short message when not."""
    assert [len(one) for one in got] == [len(one) for one in wanted]
    differ = [i for i, (a, b) in enumerate(zip(got, wanted, strict=True)) if a != b]
    assert differ == []


def ping(source: str, address: str, sizes: Sequence[int]) -> None:
    """One echo request of each payload size; each reply holds the same bytes."""
    family = 6 if ":" in address else 4
    kind, answer = _ECHO[family]
    with open_in(source, af_of(address), socket.SOCK_RAW, frames.ICMP[family]) as sock:
        sock.settimeout(2)
        for number, size in enumerate(sizes):
            body = content(number, size)
            head = struct.pack("!BBHHH", kind, 0, 0, 0x4657, number)
            csum = frames.checksum(head + body)  # over IPv6 the kernel's business
            sock.sendto(head[:2] + struct.pack("!H", csum) + head[4:] + body, (address, 0))
            wanted = struct.pack("!HH", 0x4657, number) + body
            assert _echo_reply(sock, answer, number) == wanted, f"{size} bytes"


_ECHO: Final = {4: (8, 0), 6: (128, 129)}
"""ICMP types of request and reply."""


def _echo_reply(sock: socket.socket, kind: int, number: int) -> bytes:
    """What follows the checksum in the reply of that number."""
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:
        message = sock.recv(1 << 16)
        if sock.family == socket.AF_INET:  # an IPv6 one leaves the header out
            packet = frames.parse_ip(message)
            message = packet.payload if packet else b"?"
        if message[0] == kind and message[6:8] == struct.pack("!H", number):
            return message[4:]
    raise AssertionError(f"echo request {number} is not answered")


def everything_flows(net: Net) -> None:
    """A little of all kinds of traffic, in and out of node 1, with an fwd and a kernel peer."""
    try:
        _everything_flows(net)
    except AssertionError as error:
        for index in (1, 2):
            counted = {name: n for name, n in net.tunnel(index).counters.items() if n}
            error.add_note(f"node {index} counts {counted}, {_losses(net.node(index).namespace)}")
        raise


def _everything_flows(net: Net) -> None:
    for source, target in [(2, 1), (1, 2), (3, 1), (1, 3)]:
        pod = net.pod(target)
        ends = net.pod(source).namespace, pod.namespace, net.address(pod)
        tcp_exchange(*ends, size=2 * MEGABYTE)
        udp_stream(*ends, count=300, size=net.room)
        udp_stream(*ends, count=300, size=100)
        udp_stream(*ends, count=5, size=20_000)
        ping(ends[0], ends[2], [0, 56, net.room, 4000])
        for size in (1200, 100):
            segmented(*ends, data=content(1, 36 * size + size // 2), size=size, gro=False)
