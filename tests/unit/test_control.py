# SPDX-License-Identifier: Apache-2.0
"""The agent's socket: requests, refusals, streams, and askers who are no use."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest

from fwd.model import FwdError
from fwd.ops import control
from fwd.ops.control import (
    Asker,
    CaptureRequest,
    Connection,
    ControlServer,
    DropsRequest,
    Refused,
    Request,
    StatusRequest,
    ask,
)


class Served:
    """A server that answers with the request, streams drops, and refuses captures."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()

    async def serve(self, request: Request, asker: Asker) -> None:
        match request:
            case StatusRequest():
                await asker.send_line(request)
            case CaptureRequest():
                raise FwdError(f"no capture of {request.filter}")
            case DropsRequest():
                await asker.send_line({"number": 0})
                while await asker.stays(0.02):
                    pass
                self.gone.set()


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    made = Served()
    server = await ControlServer.open(tmp_path, made.serve)
    server.take_name()
    yield made
    server.close()


async def say(run_dir: Path, text: bytes) -> bytes:
    reader, writer = await asyncio.open_unix_connection(run_dir / control.SOCKET_NAME)
    writer.write(text)
    try:
        return await asyncio.wait_for(reader.read(), 5)
    except ConnectionResetError:  # closed while it had something of ours to read
        return b""
    finally:
        writer.close()


@pytest.mark.usefixtures("served")
async def test_a_request_is_answered(tmp_path: Path) -> None:
    answer = await asyncio.to_thread(ask, tmp_path, StatusRequest())
    assert msgspec.json.decode(answer, type=Request) == StatusRequest()


@pytest.mark.usefixtures("served")
async def test_a_refusal_is_an_error_in_the_askers_program(tmp_path: Path) -> None:
    with pytest.raises(FwdError, match="no capture of tcp"):
        await asyncio.to_thread(ask, tmp_path, CaptureRequest(filter="tcp"))


@pytest.mark.usefixtures("served")
@pytest.mark.parametrize("text", [b"nonsense\n", b'{"want": "all"}\n', b"{}\n", b'{"want": 1}\n'])
async def test_what_is_no_request_is_refused_in_words(tmp_path: Path, text: bytes) -> None:
    assert msgspec.json.decode(await say(tmp_path, text), type=Refused).error


@pytest.mark.usefixtures("served")
async def test_a_request_without_an_end_is_refused_in_words(tmp_path: Path) -> None:
    endless = CaptureRequest(filter="x" * (1 << 20))
    with pytest.raises(FwdError, match="at most 64 KiB"):
        await asyncio.to_thread(ask, tmp_path, endless)


@pytest.mark.usefixtures("served")
async def test_who_only_looks_costs_nothing(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as looking:
        looking.connect(str(tmp_path / control.SOCKET_NAME))
    assert await asyncio.to_thread(ask, tmp_path, StatusRequest())


async def test_a_stream_ends_when_the_asker_goes(served: Served, tmp_path: Path) -> None:
    def first_line() -> bytes:
        with Connection(tmp_path, DropsRequest(follow=True)) as connection:
            return next(connection.lines())

    assert await asyncio.to_thread(first_line) == b'{"number":0}'
    await asyncio.wait_for(served.gone.wait(), 5)


@pytest.mark.usefixtures("served")
async def test_too_many_are_sent_away_and_not_for_ever(tmp_path: Path) -> None:
    with ExitStack() as stack:
        for _ in range(control._MOST_ASKERS):
            one = await asyncio.to_thread(Connection, tmp_path, DropsRequest(follow=True))
            stack.enter_context(one)
            assert await asyncio.to_thread(one.read)
        # The second is still being said when the refusal comes and the server closes.
        for request in (StatusRequest(), CaptureRequest(filter="x" * (4 << 20))):
            with pytest.raises(FwdError, match="too many ask at once"):
                await asyncio.to_thread(control.ask, tmp_path, request)
    for _ in range(250):
        if await say(tmp_path, b'{"want": "status"}\n'):
            return
        await asyncio.sleep(0.02)
    pytest.fail("nobody is answered any more")


async def test_bytes_follow_a_line_unharmed(tmp_path: Path) -> None:
    async def serve(request: Request, asker: Asker) -> None:
        assert request == DropsRequest()
        await asker.send(b'{"a":1}\n' + bytes(range(256)) * 300)

    server = await ControlServer.open(tmp_path, serve)
    server.take_name()

    def read() -> tuple[bytes, bytes, bytes, bytes]:
        with Connection(tmp_path, DropsRequest()) as connection:
            lines = connection.lines()
            line = next(lines)
            return line, lines.read_exactly(5), lines.read_exactly(70000), lines.read_exactly(99999)

    line, first, second, rest = await asyncio.to_thread(read)
    assert line == b'{"a":1}'
    assert first + second + rest == bytes(range(256)) * 300
    server.close()
