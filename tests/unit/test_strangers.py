# SPDX-License-Identifier: Apache-2.0
"""Who is not root gets no word from the sockets of the run directory, whatever their mode is.

An administrator may have changed it, or the directory may be on a file system that has no modes.
"""

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec
import pytest

from fwd.core import handovertalk as talk
from fwd.node.handover.channel import Channel
from fwd.node.handover.giver import SOCKET_NAME, Giver
from fwd.node.handover.taker import TakeOverError, Taker
from fwd.node.rundir import RunDir
from fwd.ops import control
from fwd.ops.control import Asker, ControlServer, Request, StatusRequest

pytestmark = pytest.mark.root

NOBODY = 65534
LIMIT = 10.0


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory to be named by no path, as those above are root's."""
    tmp_path.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    return Path()


@contextmanager
def user(uid: int) -> Iterator[None]:
    """The kernel notes it with connect() and with listen()."""
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)


def connected(path: Path, kind: socket.SocketKind, uid: int) -> socket.socket:
    path.chmod(0o666)
    sock = socket.socket(socket.AF_UNIX, kind)
    sock.setblocking(False)
    with user(uid):
        sock.connect(str(path))
    return sock


async def heard(sock: socket.socket) -> bytes:
    """What is said until the other side has enough."""
    loop, found = asyncio.get_running_loop(), bytearray()
    async with asyncio.timeout(LIMIT):
        while True:
            try:
                more = await loop.sock_recv(sock, 1 << 16)
            except ConnectionResetError:
                return bytes(found)
            if not more:
                return bytes(found)
            found += more


@pytest.mark.parametrize("uid", [0, NOBODY])
async def test_who_may_ask(place: Path, uid: int) -> None:
    asked: list[Request] = []

    async def serve(request: Request, asker: Asker) -> None:
        asked.append(request)
        await asker.send(b"all that there is")

    with closing(await ControlServer.open(place, serve)) as server:
        server.take_name()
        with connected(place / control.SOCKET_NAME, socket.SOCK_STREAM, uid) as sock:
            sock.send(msgspec.json.encode(StatusRequest()) + b"\n")
            answer = await heard(sock)
    assert (answer, asked) == ((b"", []) if uid else (b"all that there is", [StatusRequest()]))


@pytest.mark.parametrize("uid", [0, NOBODY])
async def test_who_may_take_over(place: Path, caplog: pytest.LogCaptureFixture, uid: int) -> None:
    saved: list[bool] = []

    async def save() -> None:
        saved.append(True)

    hello = talk.encode(talk.Hello(node="n1", release="1", oldest=1, newest=1))
    with (
        closing(RunDir.open(place)) as run_dir,
        closing(Giver.open(run_dir, node="n1", tunnels=list, save=save)) as giver,
    ):
        giver.take_name()
        serving = asyncio.create_task(giver.serve())
        with connected(place / SOCKET_NAME, socket.SOCK_SEQPACKET, uid) as sock:
            sock.send(hello)
            if uid == 0:
                loop = asyncio.get_running_loop()
                answer = await asyncio.wait_for(loop.sock_recv(sock, 1 << 16), LIMIT)
                assert isinstance(talk.decode(answer), talk.Welcome)
            else:
                assert await heard(sock) == b""
                assert f"of user {NOBODY} is not ours to talk with" in caplog.text
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
    assert bool(saved) is (uid == 0)


def test_who_may_not_give(place: Path) -> None:
    """What is taken over forwards: nothing is asked of anybody else."""
    with (
        closing(RunDir.open(place)) as run_dir,
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener,
    ):
        listener.bind(str(place / SOCKET_NAME))
        with user(NOBODY):
            listener.listen()
        ours = Taker(run_dir, node="n1")
        with pytest.raises(TakeOverError, match=f"of user {NOBODY} is not ours to talk with"):
            ours.probe()
        theirs = Channel(listener.accept()[0])
        with closing(theirs), pytest.raises(ConnectionResetError):
            theirs.receive(LIMIT)
