# SPDX-License-Identifier: Apache-2.0
"""Servers by names that lead nowhere: what etcd's link and the API's client say of it."""

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest

from fwd.model import ConfigError
from fwd.sources.etcdaccess import make_access
from fwd.sources.etcdapi import EtcdApi
from fwd.sources.etcdlink import EtcdPatience
from fwd.sources.kubeapi import KubeApi, Patience, Unreachable
from fwd.sources.kubeclient import ApiAccess
from tests.unit.kube_access import kubeconfig
from tests.unit.kube_server import serving
from tests.unit.kube_support import node_object
from tests.unit.names_support import HERE, NAME, Lookups, looking


@pytest.mark.parametrize(
    ("answer", "why"),
    [(None, "no answer in time"), (socket.gaierror(-2, "Unknown name"), "Unknown name")],
)
async def test_what_etcds_link_says_of_it(lookups: Lookups, answer: object, why: str) -> None:
    if answer is not None:
        lookups.answers(answer)
    urls = ("http://e1.test:2379", "https://e2.test:2379")
    api = EtcdApi(make_access(urls), patience=EtcdPatience(connect=0.2))
    with pytest.raises(Exception, match="cannot read /x: ") as caught:
        await api.get("/x")
    await api.close()
    wanted = [
        f"http{'s' * (n - 1)}://e{n}.test:2379: cannot resolve e{n}.test: {why}" for n in (1, 2)
    ]
    assert str(caught.value) == f"cannot read /x: {'; '.join(wanted)}"


@pytest.mark.parametrize(
    ("answer", "why"),
    [(None, "no answer in time"), (socket.gaierror(-2, "Unknown name"), "Unknown name")],
)
@pytest.mark.parametrize("is_proxy", [False, True], ids=["server", "proxy"])
async def test_what_the_clients_requests_say_of_it(
    lookups: Lookups,
    monkeypatch: pytest.MonkeyPatch,
    answer: object,
    why: str,
    is_proxy: bool,  # noqa: FBT001
) -> None:
    url = f"http://{NAME}:1"
    if is_proxy:
        monkeypatch.setenv("HTTP_PROXY", url)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        url = "http://192.0.2.1"
    if answer is not None:
        lookups.answers(answer)
    api = KubeApi(ApiAccess(url=url), patience=Patience(connect=0.3))
    for _ in range(2):
        with pytest.raises(Unreachable) as caught:
            await api.node("n1")
        assert str(caught.value) == f"cannot get nodes: cannot resolve {NAME}: {why}"
    await api.close()
    assert len(lookups.asked) == (1 if answer is None else 2)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the client's own ways
@pytest.mark.usefixtures("complaints")
async def test_who_gives_tokens_is_looked_up_beside_the_loop_too(
    lookups: Lookups, tmp_path: Path
) -> None:
    """The client asks him itself, for a kubeconfig that says so."""
    config = {"idp-issuer-url": f"http://{NAME}", "client-id": "a", "client-secret": "b"}
    config["refresh-token"] = "c"
    user: dict[str, Any] = {"auth-provider": {"name": "oidc", "config": config}}
    api = KubeApi(ApiAccess(kubeconfig=kubeconfig(tmp_path, "http://127.0.0.1:1", **user)))
    opening = asyncio.create_task(api.open())
    for _ in range(1000):
        await asyncio.sleep(0.002)
        if looking():
            break
    assert len(looking()) == 1
    lookups.answers(socket.gaierror(-2, "Unknown name"))
    with pytest.raises(ConfigError, match=rf"cannot resolve {NAME}: Unknown name"):
        await opening
    await api.close()


async def test_the_client_finds_a_server_by_its_name(lookups: Lookups) -> None:
    lookups.answers(HERE)
    async with serving(node_object(1)) as there:
        api = KubeApi(ApiAccess(url=f"http://{NAME}:{there.address[1]}"))
        assert await api.node("n1")
        await api.close()
    assert lookups.asked == [NAME]
