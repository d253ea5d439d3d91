# SPDX-License-Identifier: Apache-2.0
"""`fwd status --watch` where there is no terminal, and what does not go with it."""

import asyncio
import os
import pty
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from fwd import cli
from fwd.ops import status
from fwd.ops.control import Asker, ControlServer, Request
from tests.unit.status_document import DOCUMENT

SECONDS = 15.0


@pytest.fixture(autouse=True)
async def agent(tmp_path: Path) -> AsyncIterator[None]:
    async def serve(_: Request, asker: Asker) -> None:
        await asker.send_line(DOCUMENT)

    server = await ControlServer.open(tmp_path, serve)
    server.take_name()
    yield
    server.close()


class Watching:
    """`fwd status --watch`, until it is told to end."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    @classmethod
    async def begin(
        cls, run_dir: Path, *words: str, stdout: int = asyncio.subprocess.PIPE, term: str = "xterm"
    ) -> "Watching":
        command = [sys.executable, "-m", "fwd", "status", "--run-dir", str(run_dir), "--watch"]
        return cls(
            await asyncio.create_subprocess_exec(
                *command,
                *words,
                stdout=stdout,
                stderr=asyncio.subprocess.PIPE,
                env=os.environ | {"TERM": term},
            )
        )

    async def end(self) -> tuple[int | None, bytes]:
        """Exit code and stderr; it may have ended by itself."""
        assert self.process.stderr is not None
        try:
            async with asyncio.timeout(SECONDS):
                said = await self.process.stderr.read()
                await self.process.wait()
        finally:
            if self.process.returncode is None:
                self.process.kill()
                await self.process.wait()
        return self.process.returncode, said


async def test_a_pipe_gets_a_picture_a_second_until_nobody_reads(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    watching = await Watching.begin(tmp_path, stdout=writing)
    os.close(writing)
    got = b""
    while got.count(b"n1   static: polling") < 2:
        more = await asyncio.wait_for(asyncio.to_thread(os.read, reading, 65536), SECONDS)
        assert more, await watching.end()
        got += more
    os.close(reading)
    assert b"\x1b" not in got
    assert await watching.end() == (0, b"")


async def test_a_dumb_terminal_gets_every_picture(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    watching = await Watching.begin(tmp_path, stdout=theirs, term="dumb")
    os.close(theirs)
    got = b""
    try:
        while got.count(b"n1   static: polling") < 2:
            got += await asyncio.wait_for(asyncio.to_thread(os.read, ours, 65536), SECONDS)
    finally:
        watching.process.terminate()
        await watching.end()
        os.close(ours)
    assert b"\x1b" not in got


async def test_a_document_a_line_for_machines(tmp_path: Path) -> None:
    watching = await Watching.begin(tmp_path, "--json")
    assert watching.process.stdout is not None
    try:
        for _ in range(2):
            line = await asyncio.wait_for(watching.process.stdout.readline(), SECONDS)
            assert status.decode(line) == DOCUMENT
            assert line.count(b"\n") == 1
            assert msgspec.json.decode(line)
    finally:
        watching.process.terminate()
        await watching.end()


async def test_all_peers_do_not_fit_a_live_view(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["status", "--run-dir", str(tmp_path), "--watch", "--peers"]
    assert await asyncio.wait_for(asyncio.to_thread(cli.main, words), SECONDS) == 2
    assert "--peers" in capsys.readouterr().err
