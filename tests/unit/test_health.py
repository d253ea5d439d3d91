# SPDX-License-Identifier: Apache-2.0
"""/healthz and /readyz over real sockets, and what is told to systemd."""

import asyncio
import socket
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from fwd.model import ConfigError
from fwd.ops import health
from fwd.ops.health import Health
from fwd.ops.systemd import notify_ready
from tests.ports import free_port


async def say(port: int, request: bytes) -> bytes:
    """One connection: what is answered until it closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
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


async def test_many_connections_are_no_burden() -> None:
    port = free_port()
    async with Health().served("127.0.0.1", port):
        idle = [
            await asyncio.open_connection("127.0.0.1", port) for _ in range(health.MOST_CONNECTIONS)
        ]
        assert await say(port, b"GET /healthz HTTP/1.1\r\n\r\n") == b""
        for _, writer in idle:
            writer.close()
        async with asyncio.timeout(10):
            while not await say(port, b"GET /healthz HTTP/1.1\r\n\r\n"):  # noqa: ASYNC110 - it is the other side that is waited for
                await asyncio.sleep(0.02)


async def test_a_port_that_is_taken_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"cannot serve /healthz on 127.0.0.1 port {port}: "):
            async with Health().served("127.0.0.1", port):
                pass
    with pytest.raises(ConfigError, match="on port 65536: 65535 is the highest"):
        async with Health().served("127.0.0.1", 65536):
            pass


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
