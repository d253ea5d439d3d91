# SPDX-License-Identifier: Apache-2.0
"""Connections by name: which of its addresses, by which name in TLS, and until when."""

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from fwd.sources.dialing import connect
from tests.certificates import Authority

NAME = "server.test"
REFUSES, HERE, SILENT = "127.0.0.2", "127.0.0.1", "127.0.0.3"


def leads_to(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, 0)) for one in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)


@asynccontextmanager
async def listening(tls: ssl.SSLContext | None = None) -> AsyncIterator[tuple[int, list[str]]]:
    """At HERE; the port, and who came."""
    came: list[str] = []

    async def served(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.append("one")
        writer.close()

    server = await asyncio.start_server(served, HERE, 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1], came
    finally:
        server.close()


async def dial(port: int, tls: ssl.SSLContext | None = None, seconds: float = 5.0) -> None:
    ended = asyncio.get_running_loop().create_future()

    class Client(asyncio.Protocol):
        def connection_lost(self, _: Exception | None) -> None:
            ended.set_result(None)

    await connect(Client, (NAME, port), tls=tls, seconds=seconds)
    await asyncio.wait_for(ended, 5)


async def test_the_next_address_if_one_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    leads_to(monkeypatch, REFUSES, HERE)
    async with listening() as (port, came):
        await dial(port)
    assert came == ["one"]


async def test_the_best_address_is_the_one_that_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    leads_to(monkeypatch, REFUSES, "127.0.0.4")
    async with listening() as (port, _):
        with pytest.raises(ConnectionRefusedError, match=REFUSES):
            await dial(port)


@pytest.mark.parametrize("is_right", [True, False])
async def test_the_certificate_is_of_the_name(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    is_right: bool,  # noqa: FBT001
) -> None:
    """One of the address alone is wrong, and that is the reason, whatever else is."""
    names = f"{HERE},DNS:{NAME}" if is_right else HERE
    certificate, key, ca = Authority(tmp_path, "authority").sign("server", ip=names)
    leads_to(monkeypatch, REFUSES, HERE)
    context = ssl.create_default_context(cafile=str(ca))
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    there = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    there.load_cert_chain(certificate, key)
    async with listening(there) as (port, came):
        if is_right:
            await dial(port, context)
            assert came == ["one"]
            return
        with pytest.raises(ssl.SSLCertVerificationError, match=NAME):
            await dial(port, context)


async def test_all_of_it_has_one_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody listens and takes nobody: the second in line would wait."""
    leads_to(monkeypatch, SILENT)
    with socket.create_server((SILENT, 0), backlog=0) as full, socket.socket() as first:
        first.connect(full.getsockname())
        begun = time.monotonic()
        with pytest.raises(TimeoutError):
            await dial(full.getsockname()[1], seconds=0.2)
    assert time.monotonic() - begun < 5
