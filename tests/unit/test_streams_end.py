# SPDX-License-Identifier: Apache-2.0
"""`fwd drops -f` and `fwd capture` when the agent ends, or hands over, before they have all."""

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fwd import cli
from fwd.ops import capturefile
from fwd.ops.capturing import FRAME, CapturedTunnel, CaptureHeader
from fwd.ops.commands import capture
from fwd.ops.control import (
    SOCKET_NAME,
    Asker,
    CaptureRequest,
    Connection,
    ControlServer,
    DropsRequest,
    Request,
    StatusRequest,
)

GONE = "the agent broke off: it ended, another took over, or this was too slow to read"
TUNNELS = tuple(
    CapturedTunnel(device=device, family=family, underlay="eth0", address="::1", port=8472)
    for device, family in (("flannel.1", 4), ("flannel-v6.1", 6))
)
HEADER = CaptureHeader(
    node="n1", version="1", snaplen=100, tunnels=TUNNELS, reasons=("none",), nodes={}
)


class Served:
    """Streams that the agent cuts short, or ends as it should."""

    ends_well = False
    lost = (50_000, 7)
    """Of each tunnel."""

    async def serve(self, request: Request, asker: Asker) -> None:
        match request:
            case CaptureRequest():
                await asker.send_line(HEADER)
                if self.ends_well:
                    for index, lost in enumerate(self.lost):
                        await asker.send(FRAME.pack(index, 0, lost))
            case DropsRequest() | StatusRequest():
                pass


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    made = Served()
    server = await ControlServer.open(tmp_path, made.serve)
    server.take_name()
    yield made
    server.close()


async def main(run_dir: Path, *words: str) -> int:
    return await asyncio.to_thread(cli.main, [words[0], "--run-dir", str(run_dir), *words[1:]])


@pytest.mark.usefixtures("served")
async def test_drops_that_end_by_themselves(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await main(tmp_path, "drops", "-f") == 1
    assert capsys.readouterr() == ("", f"fwd drops: {GONE}\n")
    assert await main(tmp_path, "drops") == 0
    assert GONE not in capsys.readouterr().err


async def test_a_capture_that_is_cut_short(
    served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.pcapng"
    assert await main(tmp_path, "capture", "-w", str(path)) == 1
    assert capsys.readouterr().err == f"0 packets, 0 lost\nfwd capture: {GONE}\n"
    cut = path.read_bytes()
    served.ends_well = True
    assert await main(tmp_path, "capture", "-w", str(path)) == 0
    assert capsys.readouterr().err == "0 packets, 50007 lost\n"
    assert len(path.read_bytes()) == len(cut), "a file that was cut short is whole, too"


async def test_a_capture_that_cannot_go_on_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def serve(_: Request, asker: Asker) -> None:
        await asker.send_line(HEADER)
        await asker.send(b'{"error":"Cannot allocate memory"}\n')

    server = await ControlServer.open(tmp_path, serve)
    server.take_name()
    assert await main(tmp_path, "capture") == 1
    server.close()
    assert capsys.readouterr().err == "fwd capture: Cannot allocate memory\n"


@pytest.mark.parametrize("begun", [b"", FRAME.pack(0, 0, 7)[:5]], ids=["nothing", "a part"])
async def test_a_capture_of_which_no_more_comes(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    begun: bytes,
) -> None:
    """The agent is stopped, say, and so does not even end."""
    monkeypatch.setattr(capture, "_SPARE_SECONDS", 0.8)

    async def serve(_: Request, asker: Asker) -> None:
        await asker.send_line(HEADER)
        await asker.send(begun)
        await asker.stays(60)

    server = await ControlServer.open(tmp_path, serve)
    server.take_name()
    path = tmp_path / "x.pcapng"
    words = ("capture", "--seconds", "0.2", "-w", str(path))
    assert await asyncio.wait_for(main(tmp_path, *words), 10) == 1
    server.close()
    where = tmp_path / SOCKET_NAME
    assert capsys.readouterr().err == f"fwd capture: the agent at {where} did not answer in 1 s\n"
    whole = capturefile.begin(HEADER) + capturefile.end(time_ns=0, lost=[0, 0])
    assert len(path.read_bytes()) == len(whole)


async def test_what_has_come_is_read_after_that(served: Served, tmp_path: Path) -> None:
    """Whoever takes the packets from us may be slow."""
    served.ends_well = True
    connection = await asyncio.to_thread(Connection, tmp_path, CaptureRequest())
    with connection:
        lines = connection.lines()
        await asyncio.to_thread(next, lines)
        connection.until(0.0)
        whole = FRAME.size * len(TUNNELS)
        assert len(await asyncio.to_thread(lines.read_exactly, whole)) == whole


@pytest.mark.parametrize("flag", ["-c", "-s", "--megabytes"])
@pytest.mark.parametrize("number", ["1.5", "1e3", "x", "inf", "-1"])
async def test_a_number_that_is_not_whole_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flag: str, number: str
) -> None:
    assert await main(tmp_path, "capture", flag, number) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    wrong = "must be " if number == "-1" else f"invalid whole number value: '{number}'"
    assert wrong in said


@pytest.mark.usefixtures("served")
async def test_a_document_that_does_not_come(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (["status"], ["status", "--json"]):
        assert await main(tmp_path, *words) == 1
        assert capsys.readouterr() == ("", f"fwd status: {GONE}\n")


async def test_an_agent_that_is_killed_meanwhile(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It has not read the request: that is a reset, not an end."""
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(tmp_path / SOCKET_NAME))
        killed.listen()
        asking = asyncio.create_task(main(tmp_path, "drops", "-f"))
        taken = (await asyncio.to_thread(killed.accept))[0]
        await asyncio.to_thread(taken.recv, 1, socket.MSG_PEEK)
        taken.close()
        assert await asyncio.wait_for(asking, 10) == 1
    assert capsys.readouterr().err == f"fwd drops: {GONE}\n"
