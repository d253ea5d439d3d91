# SPDX-License-Identifier: Apache-2.0
"""Being known to an API server, and knowing it: configuration, tokens, TLS, names.

Excluded: its URL (test_kube_url.py).
"""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from fwd.lab.apiserver.access import FLANNEL, TOKEN
from fwd.lab.apiserver.credentials import Certificate, certify
from fwd.lab.apiserver.faults import Answer
from fwd.model import ConfigError
from fwd.sources import kubeclient, kubecredentials
from fwd.sources.kubeapi import KubeApi
from fwd.sources.kubeclient import ApiAccess
from tests.unit.kube_access import in_cluster, kubeconfig
from tests.unit.kube_member import member, source, until
from tests.unit.kube_server import serving
from tests.unit.kube_support import node_object

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """Of a server on 127.0.0.1, and its own authority."""
    return certify(tmp_path_factory.mktemp("authority"), ["127.0.0.1"])


async def test_in_a_cluster_with_tls_and_a_token_that_is_rotated(
    authority: Certificate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(node_object(1), node_object(2), tls=authority.context()) as server:
        access = in_cluster(monkeypatch, tmp_path, server.address[1], ca=authority.certificate)
        async with member(server, access=access) as ours:
            assert set(ours.leases) == {"n1", "n2"}
            (tmp_path / "token").write_text("second")
            server.access.rotate("second", user=FLANNEL)
            await server.stop()
            server.nodes.put(node_object(3))
            await server.start()
            await ours.until("known again", lambda: "n3" in ours.leases, 5)


async def test_a_token_that_is_replaced_late_is_found(
    authority: Certificate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(node_object(1), tls=authority.context()) as server:
        access = in_cluster(monkeypatch, tmp_path, server.address[1], ca=authority.certificate)
        async with member(server, access=access) as ours:
            server.access.rotate("second", user=FLANNEL)
            ours.announce()
            await ours.until("refused", lambda: server.count("patch") >= 1)
            await asyncio.sleep(0.3)
            (tmp_path / "token").write_text("second")
            server.nodes.put(node_object(4))
            await ours.until("in", lambda: len(server.annotations("n1")) == 4, 5)
            await ours.until("all well", lambda: "n4" in ours.leases, 5)


async def test_a_server_of_another_authority_is_not_talked_to(
    authority: Certificate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ca = certify(tmp_path, ["127.0.0.1"]).certificate
    async with serving(node_object(1), tls=authority.context()) as server:
        access = in_cluster(monkeypatch, tmp_path, server.address[1], ca=ca)
        async with source(server, access=access) as made:
            first = asyncio.create_task(made.first())
            await until(lambda: "certificate" in made.state().detail.lower())
            assert not server.requests
            ca.write_text(authority.certificate.read_text())  # it is rotated at last
            await asyncio.wait_for(first, 10)


async def test_a_kubeconfig_with_a_token_file_and_a_ca_in_it(
    authority: Certificate, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text(TOKEN)
    async with serving(node_object(1), tls=authority.context()) as server:
        path = kubeconfig(
            tmp_path,
            server.url,
            tokenFile="token",
            cluster={"certificate-authority": str(authority.certificate)},
        )
        async with member(server, access=ApiAccess(kubeconfig=path)) as ours:
            assert set(ours.leases) == {"n1"}
            (tmp_path / "token").write_text("second")
            server.access.rotate("second", user=FLANNEL)
            before = server.nodes.revision
            ours.announce()
            await ours.until("known again", lambda: server.nodes.revision > before, 5)
            assert server.count("patch") == 2, "refused, and at once again with the new token"


async def test_a_token_that_is_replaced_in_time_is_never_refused(
    authority: Certificate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a cluster and by a kubeconfig; what is read again in vain is kept."""
    monkeypatch.setattr(kubecredentials, "REREAD_SECONDS", 0.0)
    (tmp_path / "token").write_text(TOKEN)
    async with serving(node_object(1), tls=authority.context()) as server:
        ca = authority.certificate
        config = kubeconfig(
            tmp_path, server.url, tokenFile="token", cluster={"certificate-authority": str(ca)}
        )
        for access in (
            ApiAccess(kubeconfig=config),
            in_cluster(monkeypatch, tmp_path, server.address[1], ca=ca),
        ):
            api = KubeApi(access)
            await api.node("n1")
            for token in ("second", "third", TOKEN):
                (tmp_path / "token").write_text(token)
                server.access.rotate(token, user=FLANNEL)
                await api.node("n1")
            (tmp_path / "token").unlink()
            await api.node("n1")
            (tmp_path / "token").write_text(TOKEN)
            await api.close()
        assert {seen.status for seen in server.requests} == {200}


async def test_a_token_is_not_read_at_each_request(
    authority: Certificate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(node_object(1), tls=authority.context()) as server:
        access = in_cluster(monkeypatch, tmp_path, server.address[1], ca=authority.certificate)
        api = KubeApi(access)
        await api.node("n1")
        server.access.rotate("second", user=FLANNEL)
        (tmp_path / "token").write_text("second")
        await api.node("n1")
        await api.close()
        assert [seen.status for seen in server.requests] == [200, 401, 200]


async def test_without_anything_it_is_the_users_kubeconfig(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path, "http://127.0.0.1:1")))
    assert (await kubeclient.load(ApiAccess())).host == "http://127.0.0.1:1"


@pytest.mark.parametrize(
    ("environ", "content", "says"),
    [
        ({}, None, "no such file (give --kubeconfig-file"),
        ({}, "{", "expected"),
        ({}, "{}", "Expected key current-context"),
        ({"KUBERNETES_SERVICE_HOST": "1"}, None, "Service host/port is not set"),
        (
            {"KUBERNETES_SERVICE_HOST": "1", "KUBERNETES_SERVICE_PORT": "1"},
            None,
            "Service token file does not exist",
        ),
    ],
)
async def test_no_configuration_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    environ: dict[str, str],
    content: str | None,
    says: str,
) -> None:
    for name in ("KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"):
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / "kubeconfig"
    monkeypatch.setenv("KUBECONFIG", str(path))
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError) as caught:
        await kubeclient.load(ApiAccess(token_file=tmp_path / "t", ca_file=tmp_path / "c"))
    text = str(caught.value)
    assert text.startswith("Failed to create SubnetManager: fail to create kubernetes config: ")
    assert says in text
    assert "\n" not in text


async def test_a_configuration_that_cannot_be_is_an_error_at_start(tmp_path: Path) -> None:
    async with (
        serving() as server,
        source(server, access=ApiAccess(kubeconfig=tmp_path / "none")) as made,
    ):
        with pytest.raises(ConfigError, match="fail to create kubernetes config"):
            await asyncio.wait_for(made.first(), 5)


POD = ("kube-flannel", "fwd-abc")


async def test_the_pod_knows_the_nodes_name() -> None:
    async with serving(node_object(1)) as server:
        server.put_pod(*POD, node="n1")
        server.fault(Answer(503), verb="get")
        async with member(server, node_name="", pod=POD) as ours:
            assert ours.own[0].node == "n1"
        assert ("get", "pods") in server.verbs()
        assert server.requests[0].path == "/api/v1/namespaces/kube-flannel/pods/fwd-abc"


async def test_a_name_that_was_told_beats_the_pods() -> None:
    async with serving(node_object(1), node_object(2)) as server:
        server.put_pod(*POD, node="n2")
        async with member(server, node_name="n1", pod=POD) as ours:
            assert ours.own[0].node == "n1"
        assert ("get", "pods") not in server.verbs()


@pytest.mark.parametrize(
    ("is_there", "says"),
    [
        (False, "error retrieving pod spec for 'kube-flannel/fwd-abc': .*not found"),
        (True, "node name not present in pod spec 'kube-flannel/fwd-abc'"),
    ],
)
async def test_a_pod_that_does_not_tell_is_an_error_at_start(*, is_there: bool, says: str) -> None:
    async with serving(node_object(1)) as server:
        if is_there:
            server.put_pod(*POD, node="")
        async with source(server, node_name="", pod=POD) as made:
            with pytest.raises(ConfigError, match=f"^Failed to create SubnetManager: {says}"):
                await asyncio.wait_for(made.first(), 5)


def in_a_process_of_its_own(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


LOAD = """
import asyncio, sys
from fwd.sources import kubeapi, kubeclient
from fwd.sources.kubeapi import KubeApi
from fwd.sources.kubeclient import ApiAccess
{prelude}
async def main():
    configuration = await kubeclient.load(ApiAccess(url="http://127.0.0.1:1"))
    await kubeclient.transport(configuration).close()
asyncio.run(main())
print(*sorted(name for name in sys.modules if "kubernetes" in name or name == "pydantic"))
"""


def test_only_what_runs_is_imported() -> None:
    """The rest is 14 MiB; a version of the client in which this fails wants a look at _enter."""
    names = in_a_process_of_its_own(LOAD.format(prelude="")).split()
    assert "pydantic" not in names
    assert not [name for name in names if ".models" in name or ".api." in name]
    assert len(names) < 12


def test_should_that_not_work_all_of_it_is_imported() -> None:
    prelude = "kubeclient.PathFinder = type('None', (), {'find_spec': lambda *_: None})"
    names = in_a_process_of_its_own(LOAD.format(prelude=prelude)).split()
    assert "kubernetes.aio.client.rest" in names
