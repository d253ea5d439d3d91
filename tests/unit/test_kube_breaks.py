# SPDX-License-Identifier: Apache-2.0
"""A request that fails is one request that failed: the watch beside it ends at once or not at all,
and nothing ends the agent, whatever error aiohttp has for it."""

import asyncio
from pathlib import Path

import pytest

from fwd.lab.apiserver.access import TOKEN
from fwd.lab.apiserver.faults import Answer
from fwd.sources import kubecredentials
from fwd.sources.kubeapi import KubeApi, Patience, Unreachable
from fwd.sources.kubeclient import ApiAccess
from tests.unit.kube_access import kubeconfig
from tests.unit.kube_member import BOTH, member, nodes, settle
from tests.unit.kube_server import serving
from tests.unit.kube_support import node_in, node_object


async def test_a_patch_that_is_refused_with_401_leaves_no_watch_without_an_end() -> None:
    """The next request has a new connection, and the old one is closed, which ends the watch."""
    async with (
        serving(*nodes(BOTH)) as server,
        member(server, families=BOTH, patience=Patience()) as ours,
    ):
        await ours.until("a watch", lambda: server.watches)
        server.fault(Answer(401), verb="patch")
        ours.announce()
        await ours.until("published", lambda: server.count("patch") == 2)
        server.nodes.put(node_in(BOTH, 3, public_ip="192.168.9.9"))
        await settle(ours, server)


@pytest.mark.parametrize("token", [f"{TOKEN}\nsecond", "\x7f", "\ud800"], ids=ascii)
async def test_a_token_that_no_header_can_have_is_a_failed_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setattr(kubecredentials, "REREAD_SECONDS", 0.0)
    async with serving(node_object(1)) as server:
        api = KubeApi(ApiAccess(kubeconfig=kubeconfig(tmp_path, server.url, token=token)))
        with pytest.raises(Unreachable, match="the token has characters that no header may have"):
            await api.node("n1")
        kubeconfig(tmp_path, server.url, token=TOKEN)
        await api.node("n1")
        await api.close()


async def test_a_redirect_to_a_url_with_a_user_is_a_failed_request(tmp_path: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        place = f"http://who:cares@127.0.0.1:{port}/api"
        writer.write(f"HTTP/1.1 307 Go\r\nLocation: {place}\r\nContent-Length: 0\r\n\r\n".encode())
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as proxy:
        port = proxy.sockets[0].getsockname()[1]
        path = kubeconfig(tmp_path, f"http://127.0.0.1:{port}", token=TOKEN)
        api = KubeApi(ApiAccess(kubeconfig=path))
        with pytest.raises(Unreachable, match="cannot get nodes: Cannot combine") as caught:
            await asyncio.wait_for(api.node("n1"), 5)
        assert "cares" not in str(caught.value)
        await api.close()
