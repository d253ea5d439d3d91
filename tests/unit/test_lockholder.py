# SPDX-License-Identifier: Apache-2.0
"""Who has the lock of a run directory, by the kernel's word."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from fwd.node.rundir import RunDir
from fwd.ops import lockholder

HANDS_ON = """
import os, socket, sys
sock = socket.socket(fileno=int(sys.argv[1]))
_, fds, _, _ = socket.recv_fds(sock, 10, 1)
sock.send(b"taken")
sock.recv(1)
"""


def test_nobody(tmp_path: Path) -> None:
    assert lockholder.holder_of(tmp_path) is None
    assert lockholder.holder_of(tmp_path / "none") is None
    assert not lockholder.is_locked(tmp_path)
    RunDir.open(tmp_path).close()
    assert lockholder.holder_of(tmp_path) is None
    assert not lockholder.is_locked(tmp_path)


def test_whoever_took_it(tmp_path: Path) -> None:
    run_dir = RunDir.open(tmp_path)
    other = RunDir.enter(tmp_path)  # has it open, and that is all
    try:
        assert not other.is_ours
        assert lockholder.holder_of(tmp_path) == os.getpid()
        assert lockholder.is_locked(tmp_path)
    finally:
        run_dir.close()
    assert lockholder.holder_of(tmp_path) is None
    other.close()


def test_whoever_was_given_it(tmp_path: Path) -> None:
    """/proc/locks goes on to name the one who took it."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        argv = [sys.executable, "-c", HANDS_ON, str(theirs.fileno())]
        with subprocess.Popen(argv, pass_fds=[theirs.fileno()]) as child:
            run_dir = RunDir.open(tmp_path)
            socket.send_fds(ours, [b"lock"], [run_dir.lock])
            assert ours.recv(10) == b"taken"
            run_dir.close()
            assert lockholder.holder_of(tmp_path) == child.pid
            ours.send(b".")


def test_where_a_process_is() -> None:
    assert not lockholder.is_elsewhere(os.getpid())
    assert not lockholder.is_elsewhere(1 << 30)  # gone


@pytest.mark.root
def test_a_process_in_another_network() -> None:
    argv = ["unshare", "--net", "sh", "-c", "echo; read line"]
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert lockholder.is_elsewhere(child.pid)
        assert f"/proc/{child.pid}/ns/net" in lockholder.way_to(child.pid)
        child.communicate(b"\n")
