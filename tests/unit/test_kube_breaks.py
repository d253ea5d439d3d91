# SPDX-License-Identifier: Apache-2.0
"""A request that fails is one request that failed: the watch beside it ends at once or not at all,
and nothing ends the agent, whatever error aiohttp has for it."""

import asyncio
from pathlib import Path

import pytest

from fwd.lab.apiserver.access import ANONYMOUS, FLANNEL_ROLE, TOKEN
from fwd.lab.apiserver.credentials import Certificate, certify
from fwd.lab.apiserver.faults import Answer
from fwd.sources import kubecredentials
from fwd.sources.kubeapi import KubeApi, Patience, Refused, Unreachable
from fwd.sources.kubeclient import ApiAccess
from tests.unit.kube_access import kubeconfig
from tests.unit.kube_member import BOTH, Member, member, nodes, settle
from tests.unit.kube_server import Server, serving
from tests.unit.kube_support import node_in, node_object


def by_certificate(directory: Path, server: Server, made: Certificate) -> ApiAccess:
    """Whose user the server takes for flannel."""
    server.access.rules[ANONYMOUS] = set(FLANNEL_ROLE)
    cluster = {"certificate-authority": str(made.certificate)}
    user = {"client-certificate": str(made.certificate), "client-key": str(made.key)}
    return ApiAccess(kubeconfig=kubeconfig(directory, server.url, cluster=cluster, **user))


async def refuse_a_patch(ours: Member, server: Server) -> None:
    """With 401, once; then the news of another node has to come."""
    await ours.until("a watch", lambda: server.watches)
    server.fault(Answer(401), verb="patch")
    ours.announce()
    await ours.until("published", lambda: server.count("patch") == 2)
    server.nodes.put(node_in(BOTH, 3, public_ip="192.168.9.9"))
    await settle(ours, server)


async def test_a_patch_that_is_refused_with_401_does_not_touch_the_watch() -> None:
    async with (
        serving(*nodes(BOTH)) as server,
        member(server, families=BOTH, patience=Patience()) as ours,
    ):
        await refuse_a_patch(ours, server)
        assert (server.count("list"), server.count("watch")) == (1, 1)


async def test_with_a_client_certificate_it_leaves_no_watch_without_an_end(tmp_path: Path) -> None:
    """The next request has a new connection, and the old one is closed, which ends the watch."""
    made = certify(tmp_path, ["127.0.0.1"])
    async with serving(*nodes(BOTH), tls=made.context()) as server:
        access = by_certificate(tmp_path, server, made)
        async with member(server, access=access, families=BOTH, patience=Patience()) as ours:
            await refuse_a_patch(ours, server)
            await ours.until("another watch", lambda: server.count("watch") == 2)


async def test_who_has_a_client_certificate_is_not_told_of_a_token(tmp_path: Path) -> None:
    made = certify(tmp_path, ["127.0.0.1"])
    async with serving(node_object(1), tls=made.context()) as server:
        api = KubeApi(by_certificate(tmp_path, server, made))
        server.access.revoke("get", "nodes", user=ANONYMOUS)
        with pytest.raises(Refused, match=r"\(403\): the ClusterRole lacks"):
            await api.node("n1")
        await api.close()


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
