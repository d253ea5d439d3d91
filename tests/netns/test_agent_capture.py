# SPDX-License-Identifier: Apache-2.0
"""`fwd capture`, and what tshark makes of its file.

Two agents with both families, for all tests of this file together: each makes traffic of its own
in one family and looks at that.
"""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

import pytest
from msgspec import Struct

from tests.netns.agent_support import EACH_FAMILY, FACTS, WAIT_SECONDS, wait_for
from tests.netns.observed_support import FOREIGN, Watched

pytestmark = [pytest.mark.netns, pytest.mark.root]


class Words(Struct, frozen=True):
    """What tshark, and fwd's filters, call what a family has."""

    ip: str
    icmp: str
    request: str
    reply: str
    """The types of an echo."""
    ours: str
    """fwd's name of its ICMP."""
    header: int
    """Bytes of an IP header."""


WORDS = {
    4: Words("ip", "icmp", "8", "0", "icmp", 20),
    6: Words("ipv6", "icmpv6", "128", "129", "icmp6", 40),
}
BROKEN = (
    '_ws.malformed || _ws.expert.severity == "Error" || ip.checksum.status == "Bad" || '
    '(udp.checksum.status == "Bad" && frame.cap_len == frame.len)'
)
"""A packet that was captured in part has no sum that could be right."""


def tshark(path: Path, shown: str, *fields: str) -> list[list[str]]:
    """The packets that a display filter shows, as rows of fields."""
    words = [
        "tshark",
        "-n",
        "-d",
        "udp.port==8472,vxlan",
        "-o",
        "udp.check_checksum:TRUE",
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
kind = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
server = socket.create_server((sys.argv[1], 7007), family=kind)
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
import socket, sys
with socket.create_connection((sys.argv[1], 7007), timeout=10) as talk:
    talk.sendall(b"y" * 300000)
    got = 0
    while got < 300000:
        got += len(talk.recv(65536))
"""


def talk_tcp(watched: Watched, address: str) -> None:
    """300 kB there and 300 kB back between the two nodes' own overlay addresses."""
    command = ["ip", "netns", "exec", watched.n2.name, sys.executable, "-c", _ECHO, address]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
        try:
            assert server.stdout is not None
            assert server.stdout.readline()
            assert watched.n1.run(sys.executable, "-c", _TALK, address).returncode == 0
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


def ping(watched: Watched, address: str) -> None:
    """Three times."""
    assert watched.n1.run("ping", "-c", "3", "-i", "0.02", address).returncode == 0


def sent_again(watched: Watched) -> int:
    """Segments, by n1's TCP: a busy machine is taken for one that has lost some."""
    text = watched.n1.run("cat", "/proc/net/snmp").stdout
    names, values = re.findall(r"^Tcp: (.*)$", text, re.MULTILINE)
    return int(dict(zip(names.split(), values.split(), strict=True))["RetransSegs"])


@EACH_FAMILY
def test_a_capture_is_vxlan_to_wireshark(watched: Watched, tmp_path: Path, family: int) -> None:
    facts, words = FACTS[family], WORDS[family]
    here, there = facts.tunnel_ip("n1"), facts.tunnel_ip("n2")
    before = sent_again(watched)
    with Capture(watched, tmp_path / "all.pcapng") as capture:
        ping(watched, there)
        talk_tcp(watched, there)
        watched.n1.run("ping", "-c", "1", "-W", "0.2", FOREIGN[family])
    assert capture.said.endswith(" 0 lost\n"), capture.said
    assert not tshark(capture.path, BROKEN, "frame.number", "frame.protocols")
    echoes = tshark(
        capture.path,
        f"{words.icmp}.type == {words.request} && vxlan",
        *(f"{words.ip}.src", "vxlan.vni", "udp.dstport", "frame.comment"),
    )
    n2 = f"peer n2 ({facts.underlay('n2')})"
    row = [f"{facts.underlay('n1')},{here}", "1", "8472", f"to the underlay: passed, {n2}"]
    assert echoes == [row] * 3
    sent = tshark(capture.path, 'vxlan && frame.comment contains "to the underlay"', "udp.srcport")
    ports = {int(row[0].partition(",")[0]) for row in sent}  # an inner one follows
    assert ports
    assert min(ports) >= 49152
    inner = tshark(
        capture.path,
        f"{words.icmp}.type in {{{words.request}, {words.reply}}} && !vxlan",
        *(f"{words.icmp}.type", "frame.comment", "frame.interface_name"),
    )
    assert {tuple(row) for row in inner} == {
        (words.request, f"from Pods: passed, {n2}", facts.device),
        (words.reply, "to Pods: passed", facts.device),
        (words.request, "from Pods: dropped, out_no_route", facts.device),
    }
    bulk = tshark(capture.path, f"tcp && !vxlan && {words.ip}.src == {here}", "frame.comment")
    assert any("packets in one" in row[0] for row in bulk), (
        "a super-packet is one that stands for many"
    )
    carried = tshark(capture.path, "tcp.dstport == 7007 && vxlan", "tcp.seq", "tcp.len")
    parts = [range(int(row[0]), int(row[0]) + int(row[1])) for row in carried]
    assert len({byte for part in parts for byte in part}) == 300_000
    again = sent_again(watched) - before
    assert 0 <= sum(map(len, parts)) - 300_000 <= again * facts.mtu, "none is there twice"


@EACH_FAMILY
def test_a_capture_has_what_its_filter_lets_pass(
    watched: Watched, tmp_path: Path, family: int
) -> None:
    words = WORDS[family]
    shown = ("outer", "and", "inbound", "and", words.ours)
    with Capture(watched, tmp_path / "some.pcapng", "-s", "60", *shown) as capture:
        for facts in FACTS.values():
            ping(watched, facts.tunnel_ip("n2"))
    fields = ("frame.interface_name", "frame.cap_len", f"{words.ip}.dst")
    rows = tshark(capture.path, "frame", *fields)
    outer = FACTS[family].underlay("n1")
    assert [(row[0], row[1], row[2].partition(",")[0]) for row in rows] == [
        ("u1", str(60 + words.header + 8), outer)
    ] * 3


def test_a_capture_of_nobody_is_refused(watched: Watched) -> None:
    refused = watched.fwd("capture", "peer", "n9")
    assert refused.returncode == 1
    assert "there is no peer 'n9'" in refused.stderr


@EACH_FAMILY
def test_a_capture_ends_by_itself_and_shows_lines(watched: Watched, family: int) -> None:
    icmp, header = WORDS[family].ours, WORDS[family].header
    here, there = (FACTS[family].tunnel_ip(name) for name in ("n1", "n2"))
    shown = (icmp, "and", "host", there)  # not what a kernel tells groups
    begin = time.monotonic()
    done = watched.fwd("capture", "--seconds", "0.3", *shown)
    assert time.monotonic() - begin < 10
    assert done.stderr == "0 packets, 0 lost\n"
    command = ["ip", "netns", "exec", watched.n1.name, sys.executable, "-m", "fwd", "capture"]
    command += ["--run-dir", str(watched.agent.run_dir), "-c", "2", *shown, "and", "outer"]
    begun = len(watched.agent.lines("capture-begins"))
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as capture:
        watched.agent.says("capture-begins", times=begun + 1)
        again = watched.fwd("capture", *shown)
        assert watched.n1.pings(there)
        lines, _ = capture.communicate(timeout=WAIT_SECONDS)
    length = 22 + header + 8 + 56
    assert f"out u1 {here} > {there} {icmp}, length {length}: passed, peer n2" in lines
    assert f"in  u1 {there} > {here} {icmp}, length {length}: passed, peer n2" in lines
    assert again.returncode == 1
    assert "a capture runs already" in again.stderr


def test_a_capture_of_an_agent_that_is_stopped_ends(watched: Watched, tmp_path: Path) -> None:
    """With what it has seen before that."""
    path = tmp_path / "some.pcapng"
    command = ["ip", "netns", "exec", watched.n1.name, sys.executable, "-m", "fwd", "capture"]
    command += ["--run-dir", str(watched.agent.run_dir), "--seconds", "2", "-w", str(path)]
    begun = len(watched.agent.lines("capture-begins"))
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as capture:
        try:
            watched.agent.says("capture-begins", times=begun + 1)
            ping(watched, FACTS[4].tunnel_ip("n2"))
            os.kill(watched.agent.pid, signal.SIGSTOP)
            _, said = capture.communicate(timeout=20)
        finally:
            os.kill(watched.agent.pid, signal.SIGCONT)
            capture.kill()
    assert said.endswith("fwd.sock did not answer in 7 s\n")
    assert said.count("\n") == 1
    assert capture.returncode == 1
    assert tshark(path, "icmp", "frame.number")
