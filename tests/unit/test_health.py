# SPDX-License-Identifier: Apache-2.0
"""/healthz and /readyz over real sockets, and what is told to systemd."""

import asyncio
import errno
import socket
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from fwd.model import ConfigError
from fwd.ops import health
from fwd.ops.health import Health
from fwd.ops.metrics import Metrics
from fwd.ops.systemd import notify_ready
from tests.ports import free_port

PROBE = b"GET /healthz HTTP/1.1\r\n\r\n"


async def say(port: int, request: bytes, *, host: str = "127.0.0.1") -> bytes:
    """One connection: what is answered until it closes."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(request)
        return await asyncio.wait_for(reader.read(), 10)
    except ConnectionResetError:  # closed while it had something of ours to read
        return b""
    finally:
        writer.close()


def asked_by_a_library(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


async def test_the_answers_are_flannels() -> None:
    port, one = free_port(), Health()
    async with one.served("127.0.0.1", port):
        for path, wanted in (
            ("/healthz", (200, "flanneld is running")),
            ("/healthz?verbose", (200, "flanneld is running")),
            ("/readyz", (503, "flanneld is not ready yet: it has only just begun")),
            ("/", (404, "404 page not found\n")),
            ("/healthzz", (404, "404 page not found\n")),
        ):
            assert await asyncio.to_thread(asked_by_a_library, port, path) == wanted
        one.set_ready()
        assert await asyncio.to_thread(asked_by_a_library, port, "/readyz") == (
            200,
            "flanneld is ready",
        )
    with pytest.raises(ConnectionRefusedError):
        await say(port, b"")


@pytest.mark.parametrize(
    ("request_", "start", "end"),
    [
        (b"GET /healthz HTTP/1.1\r\n\r\n", b"HTTP/1.1 200 OK\r\n", b"flanneld is running"),
        (b"POST /healthz HTTP/1.0\r\n\r\n", b"HTTP/1.1 200 OK\r\n", b"flanneld is running"),
        (b"HEAD /healthz HTTP/1.1\r\n\r\n", b"HTTP/1.1 200 OK\r\n", b"close\r\n\r\n"),
        (b"GET /healthz\r\n\r\n", b"HTTP/1.1 400 ", b"\r\n\r\n"),
        (b"GET healthz HTTP/1.1\r\n\r\n", b"HTTP/1.1 400 ", b"\r\n\r\n"),
        (b"GET /\xff HTTP/1.1\r\n\r\n", b"HTTP/1.1 400 ", b"\r\n\r\n"),
        (b"\0" * 100 + b"\r\n\r\n", b"HTTP/1.1 400 ", b"\r\n\r\n"),
    ],
)
async def test_a_request_by_hand(request_: bytes, start: bytes, end: bytes) -> None:
    port = free_port()
    async with Health().served("127.0.0.1", port):
        answer = await say(port, request_)
    assert answer.startswith(start)
    assert answer.endswith(end)


async def test_a_head_without_an_end_is_not_kept() -> None:
    port = free_port()
    async with Health().served("127.0.0.1", port):
        answer = await say(port, b"GET / HTTP/1.1\r\nX: " + b"x" * 2 * health.HEAD_LIMIT)
        assert answer.startswith(b"HTTP/1.1 431 ")


async def test_who_says_nothing_is_left_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "REQUEST_SECONDS", 0.1)
    port = free_port()
    async with Health().served("127.0.0.1", port):
        assert await say(port, b"GET /healthz") == b""


async def test_a_probe_is_answered_while_many_say_nothing() -> None:
    port = free_port()
    async with Health().served("127.0.0.1", port):
        idle = [
            await asyncio.open_connection("127.0.0.1", port)
            for _ in range(3 * health.MOST_CONNECTIONS)
        ]
        assert (await say(port, PROBE)).endswith(b"flanneld is running")
        ends = [asyncio.ensure_future(reader.read()) for reader, _ in idle]
        ended, kept = await asyncio.wait(ends, timeout=0.5)
        assert len(kept) == health.MOST_CONNECTIONS - 1, "no more than so many are a burden"
        assert set(ends[-len(kept) :]) == kept, "the oldest had to go"
        assert all(one.exception() or one.result() == b"" for one in ended)
        for one in kept:
            one.cancel()
        for _, writer in idle:
            writer.close()


class Slow(Metrics):
    """Takes until it is told to end."""

    def __init__(self) -> None:
        super().__init__(per_peer=False)
        self.end = asyncio.Event()
        self.asked = 0

    async def exposition(self) -> list[bytes]:
        self.asked += 1
        await self.end.wait()
        return [b"metrics"]


async def test_a_probe_is_answered_while_many_ask_for_more() -> None:
    """And of connections that say nothing yet, too: whatever is asked for, the oldest goes."""
    port, metrics = free_port(), Slow()
    async with Health(metrics).served("127.0.0.1", port):
        scrapes = list[asyncio.Task[bytes]]()
        for number in range(1, health.MOST_CONNECTIONS):
            scrapes.append(asyncio.create_task(say(port, b"GET /metrics HTTP/1.1\r\n\r\n")))
            while metrics.asked < number:  # noqa: ASYNC110 - it is the other side that is waited for
                await asyncio.sleep(0.001)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert (await say(port, PROBE)).endswith(b"flanneld is running")
        assert await scrapes[0] == b"", "the oldest, in its place"
        writer.write(PROBE)
        assert (await reader.read()).endswith(b"flanneld is running"), "one that takes its time"
        writer.close()
        metrics.end.set()
        for answer in await asyncio.gather(*scrapes[1:]):
            assert answer.endswith(b"metrics")


async def test_a_port_that_is_taken_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"cannot serve /healthz on 127.0.0.1 port {port}: "):
            async with Health().served("127.0.0.1", port):
                pass
    with pytest.raises(ConfigError, match="on port 65536: 65535 is the highest"):
        async with Health().served("127.0.0.1", 65536):
            pass


@pytest.mark.parametrize("host", ["0.0.0.0", "::", ""])
async def test_no_address_in_particular_is_each_of_both_families(host: str) -> None:
    port = free_port()
    async with Health().served(host, port):
        for address in ("127.0.0.1", "::1"):
            assert (await say(port, PROBE, host=address)).endswith(b"flanneld is running")


async def test_a_kernel_without_ipv6_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    class OnlyIPv4(socket.socket):
        def __init__(self, family: int = -1, *more: Any, **named: Any) -> None:  # noqa: ANN401
            if family == socket.AF_INET6:
                raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
            super().__init__(family, *more, **named)

    monkeypatch.setattr(socket, "socket", OnlyIPv4)
    port = free_port()
    async with Health().served("0.0.0.0", port):
        assert (await say(port, PROBE)).endswith(b"flanneld is running")


@pytest.mark.parametrize("port", [0, -1])
async def test_no_port_is_no_server(port: int) -> None:
    async with Health().served("0.0.0.0", port):
        pass


def test_systemd_is_told_where_it_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify_ready()
    path = str(tmp_path / "notify")
    for name, address in ((path, path), ("@fwd-test-notify", "\0fwd-test-notify")):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
            listener.settimeout(10)
            listener.bind(address)
            monkeypatch.setenv("NOTIFY_SOCKET", name)
            notify_ready()
            assert listener.recv(100) == b"READY=1"
    assert not caplog.records
    monkeypatch.setenv("NOTIFY_SOCKET", "/none")
    notify_ready()
    assert "cannot notify /none" in caplog.text
