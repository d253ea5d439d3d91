# SPDX-License-Identifier: Apache-2.0
"""`fwd capture`, and what tshark makes of its file.

Two agents, for all tests of this file together: each makes traffic of its own and looks at that.
"""

import subprocess
import sys
import time
from pathlib import Path
from typing import Self

import pytest

from tests.netns.agent_support import WAIT_SECONDS, wait_for
from tests.netns.observed_support import FOREIGN, Watched

pytestmark = [pytest.mark.netns, pytest.mark.root]


def tshark(path: Path, shown: str, *fields: str) -> list[list[str]]:
    """The packets that a display filter shows, as rows of fields."""
    words = [
        "tshark",
        "-n",
        "-d",
        "udp.port==8472,vxlan",
        "-r",
        str(path),
        "-Y",
        shown,
        "-T",
        "fields",
        "-E",
        "occurrence=a",
    ]
    for field in fields:
        words += ["-e", field]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return [line.split("\t") for line in done.stdout.splitlines()]


_ECHO = """\
import socket, sys
server = socket.create_server(("10.244.2.0", 7007))
print("listens", flush=True)
asked, _ = server.accept()
with asked:
    got = 0
    while got < 300000:
        got += len(asked.recv(65536))
    asked.sendall(b"x" * 300000)
    asked.recv(1)
"""
_TALK = """\
import socket
with socket.create_connection(("10.244.2.0", 7007), timeout=10) as talk:
    talk.sendall(b"y" * 300000)
    got = 0
    while got < 300000:
        got += len(talk.recv(65536))
"""


def talk_tcp(watched: Watched) -> None:
    """300 kB there and 300 kB back between the two nodes' own overlay addresses."""
    command = ["ip", "netns", "exec", watched.n2.name, sys.executable, "-c", _ECHO]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
        try:
            assert server.stdout is not None
            assert server.stdout.readline()
            assert watched.n1.run(sys.executable, "-c", _TALK).returncode == 0
        finally:
            server.terminate()
            server.wait(WAIT_SECONDS)


class Capture:
    """`fwd capture -w` while the context lasts; the file is whole after it."""

    def __init__(self, watched: Watched, path: Path, *words: str) -> None:
        self._watched = watched
        self.path = path
        command = ["ip", "netns", "exec", watched.n1.name, sys.executable, "-m", "fwd", "capture"]
        command += ["--run-dir", str(watched.agent.run_dir), "-w", str(path), *words]
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        self.said = ""

    def __enter__(self) -> Self:
        wait_for("the file", lambda: self.path.exists() and self.path.stat().st_size > 0)
        return self

    def __exit__(self, *_: object) -> None:
        time.sleep(0.2)  # what is on its way through the rings
        self._process.send_signal(2)
        self.said = self._process.communicate(timeout=WAIT_SECONDS)[1]
        assert self._process.returncode == 0, self.said


def test_a_capture_is_vxlan_to_wireshark(watched: Watched, tmp_path: Path) -> None:
    with Capture(watched, tmp_path / "all.pcapng") as capture:
        assert watched.n1.run("ping", "-c", "3", "-i", "0.02", "10.244.2.0").returncode == 0
        talk_tcp(watched)
        watched.n1.run("ping", "-c", "1", "-W", "0.2", FOREIGN[4])
    assert capture.said.endswith(" 0 lost\n"), capture.said
    assert not tshark(
        capture.path,
        '_ws.malformed || _ws.expert.severity == "Error" || ip.checksum.status == "Bad"',
        "frame.number",
        "frame.protocols",
    )
    echoes = tshark(
        capture.path,
        "icmp.type == 8 && vxlan",
        "ip.src",
        "vxlan.vni",
        "udp.dstport",
        "frame.comment",
    )
    assert len(echoes) == 3
    assert echoes[0][:3] == ["192.168.50.1,10.244.1.0", "1", "8472"]
    assert echoes[0][3] == "to the underlay: passed, peer n2 (192.168.50.2)"
    inner = tshark(
        capture.path, "icmp && !vxlan", "icmp.type", "frame.comment", "frame.interface_name"
    )
    assert {tuple(row) for row in inner} == {
        ("8", "from Pods: passed, peer n2 (192.168.50.2)", "flannel.1"),
        ("0", "to Pods: passed", "flannel.1"),
        ("8", "from Pods: dropped, out_no_route", "flannel.1"),
    }
    bulk = tshark(
        capture.path, "tcp && !vxlan && ip.src == 10.244.1.0", "frame.comment", "frame.len"
    )
    assert any("packets in one" in row[0] for row in bulk), (
        "a super-packet is one that stands for many"
    )
    carried = tshark(capture.path, "tcp.dstport == 7007 && vxlan", "tcp.len")
    assert sum(int(row[0]) for row in carried) == 300_000


def test_a_capture_has_what_its_filter_lets_pass(watched: Watched, tmp_path: Path) -> None:
    with Capture(
        watched, tmp_path / "some.pcapng", "-s", "60", "outer", "and", "inbound"
    ) as capture:
        assert watched.n1.run("ping", "-c", "3", "-i", "0.02", "10.244.2.0").returncode == 0
    rows = tshark(capture.path, "frame", "frame.interface_name", "frame.cap_len", "ip.dst")
    assert len(rows) == 3
    assert {row[0] for row in rows} == {"u1"}
    assert {row[1] for row in rows} == {str(60 + 28)}
    refused = watched.fwd("capture", "peer", "n9")
    assert refused.returncode == 1
    assert "there is no peer 'n9'" in refused.stderr


def test_a_capture_ends_by_itself_and_shows_lines(watched: Watched) -> None:
    begin = time.monotonic()
    done = watched.fwd("capture", "--seconds", "0.3", "icmp")
    assert time.monotonic() - begin < 10
    assert done.stderr == "0 packets, 0 lost\n"
    command = ["ip", "netns", "exec", watched.n1.name, sys.executable, "-m", "fwd", "capture"]
    command += ["--run-dir", str(watched.agent.run_dir), "-c", "2", "icmp", "and", "outer"]
    begun = len(watched.agent.lines("capture-begins"))
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as capture:
        watched.agent.says("capture-begins", times=begun + 1)
        again = watched.fwd("capture", "icmp")
        assert watched.n1.pings("10.244.2.0")
        shown, _ = capture.communicate(timeout=WAIT_SECONDS)
    assert "out u1 10.244.1.0 > 10.244.2.0 icmp, length 106: passed, peer n2" in shown
    assert "in  u1 10.244.2.0 > 10.244.1.0 icmp, length 106: passed, peer n2" in shown
    assert again.returncode == 1
    assert "a capture runs already" in again.stderr
