# SPDX-License-Identifier: Apache-2.0
"""The way to an API server through a proxy, and past one; and ~/.netrc is never read."""

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from fwd.lab.apiserver.access import TOKEN
from fwd.lab.apiserver.credentials import certify
from fwd.model import ConfigError
from fwd.sources.kubeapi import KubeApi, Unreachable
from fwd.sources.kubeclient import ApiAccess
from tests.unit.kube_access import kubeconfig
from tests.unit.kube_server import Server, serving
from tests.unit.kube_support import node_object

ELSEWHERE = "kubernetes.test"
"""Nobody but a proxy can say where that is."""
NOBODY = "http://127.0.0.1:1"


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


class Proxy:
    """Tunnels to one server, whatever it is asked for."""

    def __init__(self, server: Server) -> None:
        self._to = server.address
        self.says = "200 OK"
        self.heads: list[str] = []
        """As requests came."""
        self.address = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(f"HTTP/1.1 {self.says}\r\n\r\n".encode())
        if not self.says.startswith("200"):
            writer.close()
            return
        there = await asyncio.open_connection(*self._to)
        await asyncio.gather(_pass(reader, there[1]), _pass(there[0], writer))


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
    writer.close()


@asynccontextmanager
async def proxy_to(server: Server) -> AsyncIterator[Proxy]:
    made = Proxy(server)
    listening = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.address = f"127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    try:
        yield made
    finally:
        listening.close()


async def node(access: ApiAccess) -> bytes:
    api = KubeApi(access)
    try:
        return await asyncio.wait_for(api.node("n1"), 5)
    finally:
        await api.close()


@pytest.mark.parametrize(
    ("host", "exempt"), [("127.0.0.1", ""), ("localhost", ""), ("0.0.0.0", "10.0.0.1,0.0.0.0/8")]
)
async def test_past_the_proxy(monkeypatch: pytest.MonkeyPatch, host: str, exempt: str) -> None:
    """0.0.0.0 is this machine to the kernel, and no loopback address."""
    monkeypatch.setenv("HTTP_PROXY", NOBODY)
    monkeypatch.setenv("NO_PROXY", exempt)
    async with serving(node_object(1)) as server:
        assert await node(ApiAccess(url=f"http://{host}:{server.address[1]}"))


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy"])
@pytest.mark.parametrize("before", ["", "http://"])
async def test_to_http_through_a_proxy(
    monkeypatch: pytest.MonkeyPatch, name: str, before: str
) -> None:
    """Which is the server itself here: it takes whole URLs, too."""
    async with serving(node_object(1)) as server:
        monkeypatch.setenv(name, f"{before}127.0.0.1:{server.address[1]}")
        assert await node(ApiAccess(url=f"http://{ELSEWHERE}"))


@pytest.mark.parametrize("who", ["", "me:p%40ss@"], ids=["nobody", "a user"])
@pytest.mark.parametrize("is_in_kubeconfig", [False, True], ids=["HTTPS_PROXY", "proxy-url"])
async def test_to_https_through_a_proxy(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    who: str,
    is_in_kubeconfig: bool,  # noqa: FBT001
) -> None:
    """kubeconfig's is taken whatever the environment says."""
    authority = certify(tmp_path, ["192.0.2.1"])
    cluster = {"certificate-authority": str(authority.certificate)}
    async with (
        serving(node_object(1), tls=authority.context()) as server,
        proxy_to(server) as proxy,
    ):
        url = f"http://{who}{proxy.address}"
        if is_in_kubeconfig:
            cluster["proxy-url"] = url
        monkeypatch.setenv("HTTPS_PROXY", NOBODY if is_in_kubeconfig else url)
        monkeypatch.setenv("NO_PROXY", "*" if is_in_kubeconfig else "192.0.3.0/24")
        path = kubeconfig(tmp_path, "https://192.0.2.1:6443", token=TOKEN, cluster=cluster)
        assert await node(ApiAccess(kubeconfig=path))
    head = proxy.heads[0]
    assert head.startswith("CONNECT 192.0.2.1:6443 ")
    wanted = f"Proxy-Authorization: Basic {b64encode(b'me:p@ss').decode()}\r\n"
    assert (wanted in head) == bool(who)
    assert TOKEN not in head


async def test_a_proxy_that_refuses_is_said_without_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = certify(tmp_path, ["192.0.2.1"])
    cluster = {"certificate-authority": str(authority.certificate)}
    async with serving(node_object(1)) as server, proxy_to(server) as proxy:
        proxy.says = "407 Proxy Authentication Required"
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:secret@{proxy.address}")
        path = kubeconfig(tmp_path, "https://192.0.2.1:6443", token=TOKEN, cluster=cluster)
        with pytest.raises(Unreachable) as caught:
            await node(ApiAccess(kubeconfig=path))
    assert str(caught.value).startswith("cannot get nodes: the proxy says 407 ")
    assert "secret" not in str(caught.value)


async def test_the_user_of_a_proxy_to_http(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(node_object(1)) as server, proxy_to(server) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"me:p%40ss@{proxy.address}")
        api = KubeApi(ApiAccess(url=f"http://{ELSEWHERE}"))
        asking = asyncio.create_task(api.node("n1"))
        async with asyncio.timeout(5):
            while not proxy.heads:  # noqa: ASYNC110 - bounded
                await asyncio.sleep(0.005)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await api.close()
    assert f"Proxy-Authorization: Basic {b64encode(b'me:p@ss').decode()}\r\n" in proxy.heads[0]


@pytest.mark.parametrize("is_in_kubeconfig", [False, True], ids=["HTTP_PROXY", "proxy-url"])
async def test_a_proxy_that_is_none_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    is_in_kubeconfig: bool,  # noqa: FBT001
) -> None:
    bad = "http://me:secret@127.0.0.1:bad"
    if not is_in_kubeconfig:
        monkeypatch.setenv("HTTP_PROXY", bad)
    cluster = {"proxy-url": bad} if is_in_kubeconfig else {}
    path = kubeconfig(tmp_path, f"http://{ELSEWHERE}", cluster=cluster)
    with pytest.raises(ConfigError) as caught:
        await node(ApiAccess(kubeconfig=path))
    name = "proxy-url" if is_in_kubeconfig else "HTTP_PROXY"
    assert str(caught.value) == (
        "Failed to create SubnetManager: fail to create kubernetes config: "
        f"{name} is no URL of an HTTP proxy such as http://10.0.0.1:3128"
    )


@pytest.mark.parametrize("user", [{}, {"token": TOKEN}], ids=["without a token", "with one"])
async def test_netrc_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: dict[str, str]
) -> None:
    (tmp_path / "netrc").write_text("default login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    async with serving(node_object(1)) as server:
        assert await node(ApiAccess(kubeconfig=kubeconfig(tmp_path, server.url, **user)))
