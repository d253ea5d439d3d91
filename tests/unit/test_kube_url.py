# SPDX-License-Identifier: Apache-2.0
"""Where the API server is: --kube-api-url and a kubeconfig's server, as client-go reads them."""

import asyncio
from base64 import b64encode
from pathlib import Path

import pytest

from fwd.lab.apiserver.access import ANONYMOUS, TOKEN
from fwd.lab.apiserver.credentials import certify
from fwd.model import ConfigError
from fwd.sources import kubeclient
from fwd.sources.kubeclient import ApiAccess
from tests.unit.kube_access import kubeconfig
from tests.unit.kube_member import member, source
from tests.unit.kube_server import serving
from tests.unit.kube_support import node_object


async def test_a_url_beats_the_kubeconfigs(tmp_path: Path) -> None:
    path = kubeconfig(tmp_path, "http://127.0.0.1:1", token=TOKEN)
    configuration = await kubeclient.load(ApiAccess(url="http://127.0.0.1:2/", kubeconfig=path))
    assert configuration.host == "http://127.0.0.1:2"
    assert await kubeclient.authorization(configuration) == f"Bearer {TOKEN}"


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("127.0.0.1:8080/", "http://127.0.0.1:8080"),
        ("localhost:8080", "http://localhost:8080"),
        ("[::1]:8080", "http://[::1]:8080"),
        ("api.example", "http://api.example"),
        ("https://10.0.0.1:6443", "https://10.0.0.1:6443"),
        ("http://10.0.0.1:80/behind/a/proxy/", "http://10.0.0.1:80/behind/a/proxy"),
    ],
)
async def test_a_url_without_a_scheme_is_http_as_client_go_has_it(url: str, host: str) -> None:
    assert (await kubeclient.load(ApiAccess(url=url))).host == host


async def test_a_url_without_a_scheme_is_https_where_there_is_anything_for_tls(
    tmp_path: Path,
) -> None:
    authority = certify(tmp_path, ["127.0.0.1"])
    for cluster in (
        {"certificate-authority": str(authority.certificate)},
        {"insecure-skip-tls-verify": True},
    ):
        path = kubeconfig(tmp_path, "https://127.0.0.1:1", cluster=cluster)
        loaded = await kubeclient.load(ApiAccess(url="127.0.0.1:2", kubeconfig=path))
        assert loaded.host == "https://127.0.0.1:2"
    path = kubeconfig(tmp_path, "127.0.0.1:1", token=TOKEN)
    loaded = await kubeclient.load(ApiAccess(url="127.0.0.1:2", kubeconfig=path))
    assert loaded.host == "http://127.0.0.1:2"


async def test_an_api_server_is_found_by_host_and_port() -> None:
    async with serving(node_object(1)) as server:
        access = ApiAccess(url=server.url.removeprefix("http://"))
        async with member(server, access=access) as ours:
            assert set(ours.leases) == {"n1"}


async def test_a_user_in_the_url_comes_before_a_token_and_is_said_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As Go's HTTP client and client-go have it."""
    sent: set[str | None] = set()

    def user(authorization: str | None) -> str:
        sent.add(authorization)
        return ANONYMOUS

    path = kubeconfig(tmp_path, "http://127.0.0.1:1", token=TOKEN)
    async with serving(node_object(1)) as server:
        monkeypatch.setattr(server.access, "user", user)
        place = server.url.removeprefix("http://")
        for url in (f"http://admin:s%40cret@{place}", f"admin:s%40cret@{place}/"):
            with caplog.at_level("INFO"):
                async with member(server, access=ApiAccess(url=url, kubeconfig=path)) as ours:
                    ours.announce()
                    await ours.until("published", lambda: server.count("patch"))
                    assert ours.source.state().kind == f"kube {server.url}"
            assert f"server={server.url}" in caplog.text
            assert "cret" not in caplog.text
        assert sent == {"Basic " + b64encode(b"admin:s@cret").decode()}


@pytest.mark.parametrize(
    "url",
    [
        *("127.0.0.1:8080/api", "ftp://10.0.0.1", "unix:///run/api", "http://", "://10.0.0.1"),
        *("10.0.0.1:http", "10.0.0.1:65536", "10.0.0.1:0", "::1:8080", "[::1", "https://:6443"),
    ],
)
async def test_what_is_no_url_ends_the_start(url: str) -> None:
    async with (
        serving(node_object(1)) as server,
        source(server, access=ApiAccess(url=url)) as made,
    ):
        with pytest.raises(ConfigError) as caught:
            await asyncio.wait_for(made.first(), 5)
    assert str(caught.value) == (
        "Failed to create SubnetManager: fail to create kubernetes config: --kube-api-url is no "
        "URL of an API server such as https://10.0.0.1:6443"
    )


async def test_a_kubeconfig_whose_server_has_no_scheme_ends_the_start(tmp_path: Path) -> None:
    """The client does not read what it has for TLS then, and a token would go out in clear."""
    path = kubeconfig(tmp_path, "127.0.0.1:1", token=TOKEN)
    with pytest.raises(ConfigError, match=r"the kubeconfig's server .* is no URL of an API server"):
        await kubeclient.load(ApiAccess(kubeconfig=path))
