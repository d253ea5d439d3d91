# SPDX-License-Identifier: Apache-2.0
"""`fwd ping`: which node and address are meant; and commands while no agent answers yet."""

import asyncio
import os
from pathlib import Path

import pytest
from msgspec.structs import replace

from fwd import cli
from fwd.flags import UsageError
from fwd.model import FwdError
from fwd.node.rundir import RunDir
from fwd.ops import control, lockholder, status
from fwd.ops.commands import ping
from fwd.ops.control import Asker, ControlServer, Request
from tests.unit.status_document import DOCUMENT, LEASE

SIX = replace(LEASE, node="n3", family=6, subnet="fd00:3::/64", public_ip="fd02::3")
BOTH = replace(DOCUMENT, leases=(LEASE, SIX, replace(LEASE, node="n3", subnet="10.244.3.0/24")))


@pytest.mark.parametrize(
    ("asked", "family", "found"),
    [
        ("n2", None, ("n2", "10.244.2.0")),
        ("n3", None, ("n3", "fd00:3::")),
        ("n3", 4, ("n3", "10.244.3.0")),
        ("10.244.3.7", None, ("n3", "10.244.3.7")),
        ("fd02::3", 6, ("n3", "fd00:3::")),
    ],
)
def test_who_is_meant(asked: str, family: int | None, found: tuple[str, str]) -> None:
    node, address = ping.find(BOTH, asked, family=family)
    assert (node, str(address)) == found


@pytest.mark.parametrize(
    ("asked", "family", "says"),
    [
        ("n2", 6, "^n2 has no IPv6 lease here$"),
        ("10.244.2.9", 6, r"^10\.244\.2\.9 has no IPv6 lease here$"),
        ("fd02::3", 4, r"^fd02::3 has no IPv4 lease here$"),
        ("n9", 6, "^there is no node 'n9' with a lease here"),
        ("n9", None, "^there is no node 'n9' with a lease here"),
    ],
)
def test_who_is_not_there(asked: str, family: int | None, says: str) -> None:
    with pytest.raises(FwdError, match=says):
        ping.find(BOTH, asked, family=family)


def test_this_node_itself() -> None:
    with pytest.raises(UsageError, match="is this node itself"):
        ping.find(BOTH, "n1", family=6)


def test_an_agent_that_waits_and_is_not_to_be_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "holder_of", lambda _: None)
    held = RunDir.open(tmp_path)
    try:
        with pytest.raises(FwdError, match=r"^the agent does not answer yet"):
            status.fetch(tmp_path)
    finally:
        held.close()


@pytest.mark.parametrize("words", ["status", "drops", "capture", "ping n2"])
def test_an_agent_that_waits_for_its_leases(
    words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, *rest = words.split()
    held = RunDir.open(tmp_path)
    try:
        assert cli.main([name, "--run-dir", str(tmp_path), *rest]) == 1
    finally:
        held.close()
    said = capsys.readouterr()
    who = f"fwd {name}: the agent (pid {os.getpid()})"
    assert said.out == ""
    assert said.err.startswith(f"{who} does not answer yet: it waits for its leases (its log and")
    assert cli.main([name, "--run-dir", str(tmp_path), *rest]) == 1
    assert "no agent answers at" in capsys.readouterr().err


async def test_an_agent_in_another_network_is_not_pinged_from_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def serve(_: Request, asker: Asker) -> None:
        await asker.send_line(DOCUMENT)

    held = RunDir.open(tmp_path)
    server = await ControlServer.open(tmp_path, serve)
    server.take_name()
    monkeypatch.setattr(lockholder, "is_elsewhere", lambda pid: pid == os.getpid())
    words = ["ping", "--run-dir", str(tmp_path), "-c", "1", "-W", "0.1", "n2"]
    code = await asyncio.to_thread(cli.main, words)
    server.close()
    held.close()
    said = capsys.readouterr()
    assert (code, said.out) == (1, "")
    assert said.err.startswith(f"fwd ping: the agent (pid {os.getpid()}) is in another network")
    assert "nsenter" in said.err
    assert "COMMAND" not in said.err
    assert said.err.count("\n") == 1
