# SPDX-License-Identifier: Apache-2.0
"""Sockets of the run directory are for our own user, and the path is whose was there last."""

import os
import socket
from pathlib import Path

import pytest

from fwd.ops.rootsocket import RootSocket, check_peer


def opened(path: Path, kind: socket.SocketKind) -> RootSocket:
    made = RootSocket.beside(path, kind)
    made.take_name()
    return made


def test_nobody_finds_it_before_it_has_the_name(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    first = opened(path, socket.SOCK_STREAM)
    second = RootSocket.beside(path, socket.SOCK_STREAM)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        first.listener.accept()[0].close()
        with pytest.raises(BlockingIOError):
            second.listener.accept()
    second.close()
    assert list(tmp_path.iterdir()) == [path], "it is the first one's"
    first.close()


def test_the_last_one_has_the_path(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    first = opened(path, socket.SOCK_STREAM)
    second = opened(path, socket.SOCK_STREAM)
    assert path.stat().st_mode & 0o777 == 0o600
    first.close()
    assert path.exists(), "it is the second one's"
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        server, _ = second.listener.accept()
        with server:
            check_peer(server)
    second.close()
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_left_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    first = opened(path, socket.SOCK_STREAM)
    first.leave_name()
    first.close()
    assert path.exists(), "whoever comes next may have made it a moment ago"


def test_what_is_in_the_way_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    path.write_text("no socket")
    (tmp_path / "a.sock.new").write_text("nor this")
    opened(path, socket.SOCK_SEQPACKET).close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.root
def test_another_user_is_refused() -> None:
    os.seteuid(65534)
    try:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    finally:
        os.seteuid(0)
    with ours, theirs, pytest.raises(PermissionError, match="of user 65534 is not ours"):
        check_peer(ours)
