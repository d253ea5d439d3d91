# SPDX-License-Identifier: Apache-2.0
"""A kernel node's agent and an API server whose answers break off."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fwd.lab import child, clusternodes, kernelagent
from fwd.lab.apiserver import credentials
from fwd.lab.apiserver.access import TOKEN
from fwd.lab.apiserver.faults import Cut, Fault, How, Unit
from fwd.lab.apiserver.server import ApiServer
from fwd.lab.kernelagent import Access, KernelAgent
from fwd.lab.kernelpeers import LostError
from tests.unable import leave_out

LIMIT = 20.0
NODE = clusternodes.name(0)  # the only one: nothing is programmed, so there need be no namespace


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ApiServer]:
    if child.find("openssl") is None:
        leave_out("needs openssl")
    made = credentials.certify(tmp_path, ["127.0.0.1"])
    server = ApiServer(clusternodes.nodes(1))
    await server.start(("127.0.0.1", 0), tls=made.context())
    try:
        yield server
    finally:
        await server.__aexit__()


def agent(server: ApiServer, directory: Path) -> KernelAgent:
    access = Access(url=server.url, ca=directory / "ca.crt", token=TOKEN)
    return KernelAgent(access, node=NODE, namespace="none", families=(4,))


@pytest.mark.parametrize("how", [How.FIN, How.RESET, How.SILENCE])
async def test_half_an_answer_is_none(
    server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: How
) -> None:
    for patience in ("_ANSWER", "_SILENCE"):
        monkeypatch.setattr(kernelagent, patience, 0.5)
    server.faults.add(Fault(Cut(1, how, Unit.BODY), times=None))
    one = agent(server, tmp_path)
    with pytest.raises(LostError, match="GET /api/v1/nodes: "):
        await asyncio.to_thread(one.list_all)
    with pytest.raises(LostError, match=f"PATCH /api/v1/nodes/{NODE}/status: "):
        await asyncio.to_thread(one.publish, {"a": "b"})
    with pytest.raises(LostError):
        await asyncio.to_thread(one.watch, "0")


async def test_an_agent_outlives_answers_that_break_off(server: ApiServer, tmp_path: Path) -> None:
    for verb in ("patch", "list"):
        server.faults.add(Fault(Cut(1, How.FIN, Unit.BODY), verb=verb))
    (tmp_path / "token").write_text(TOKEN)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "fwd.lab.kernelagent", "--url", server.url),
        *("--ca", str(tmp_path / "ca.crt"), "--token", str(tmp_path / "token")),
        *("--node", NODE, "--namespace", "none", "--marks", "{}", "--family", "4"),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(LIMIT):
            said = [(await process.stdout.readline()).decode() for _ in range(3)]
            while not server.watches:
                assert process.returncode is None
                await asyncio.sleep(0.01)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
    assert [line.split()[0] for line in said] == ["PATCH", "GET", "programs"]
