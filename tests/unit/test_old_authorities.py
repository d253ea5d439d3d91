# SPDX-License-Identifier: Apache-2.0
"""Authorities of old clusters, as Python 3.13 meets them: it wants extensions that they lack.

Go accepts them, and so does the etcd here.  What else is to be checked is refused as ever.
"""

import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest

from fwd.sources.etcdaccess import make_access
from fwd.sources.etcdapi import EtcdApi
from fwd.sources.etcdlink import Unreachable
from fwd.sources.kubeapi import KubeApi
from fwd.sources.kubeapi import Unreachable as KubeUnreachable
from tests.etcd_server import PREFIX, EtcdServer
from tests.unit.etcd_member import PATIENCE, SMALL, close
from tests.unit.kube_access import in_cluster
from tests.unit.kube_server import serving
from tests.unit.kube_support import node_object

EXTENSIONS = """
[req]
distinguished_name = dn
[dn]
[authority]
basicConstraints = critical, CA:TRUE
subjectKeyIdentifier = none
authorityKeyIdentifier = none
[server]
subjectAltName = IP:{ip}
subjectKeyIdentifier = none
authorityKeyIdentifier = none
"""
NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
NO_GOOD = pytest.mark.parametrize(
    ("given", "says"),
    [({"ip": "127.0.0.2"}, "not valid for '127.0.0.1'"), ({"days": -1}, "has expired")],
    ids=["another address", "expired"],
)
Files = tuple[Path, Path, Path]


@pytest.fixture(autouse=True)
def strict(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python 3.13's defaults."""
    plain = ssl.create_default_context

    def create(*args: Any, **kwargs: Any) -> ssl.SSLContext:  # noqa: ANN401
        context = plain(*args, **kwargs)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    monkeypatch.setattr(ssl, "create_default_context", create)


def sign(root: Path, *, ip: str = "127.0.0.1", days: int = 1) -> Files:
    """Certificate and key of a server, and the certificate of an authority of its own."""
    config, names = root / "extensions", ("ca.crt", "ca.key", "it.csr", "it.crt", "it.key")
    config.write_text(EXTENSIONS.format(ip=ip))
    ca, ca_key, request, certificate, key = (root / name for name in names)
    openssl(
        *("req", "-x509", *NEW_KEY, "-config", config, "-extensions", "authority"),
        *("-subj", "/CN=old", "-days", "1", "-keyout", ca_key, "-out", ca),
    )
    openssl(
        *("req", "-new", *NEW_KEY, "-config", config, "-subj", "/CN=it"),
        *("-keyout", key, "-out", request),
    )
    openssl(
        *("x509", "-req", "-in", request, "-CA", ca, "-CAkey", ca_key, "-set_serial", "1"),
        *("-days", days, "-extfile", config, "-extensions", "server", "-out", certificate),
    )
    return certificate, key, ca


def openssl(*words: object) -> None:
    done = subprocess.run(
        ["openssl", *map(str, words)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def tls(files: Files) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files[:2])
    return context


async def test_an_api_servers_is_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = sign(tmp_path)
    async with serving(node_object(1), tls=tls(files)) as server:
        api = KubeApi(in_cluster(monkeypatch, tmp_path, server.address[1], ca=files[2]))
        assert b'"n1"' in await api.node("n1")
        await api.close()


@NO_GOOD
async def test_an_api_server_is_checked_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, Any], says: str
) -> None:
    files = sign(tmp_path, **given)
    async with serving(node_object(1), tls=tls(files)) as server:
        api = KubeApi(in_cluster(monkeypatch, tmp_path, server.address[1], ca=files[2]))
        with pytest.raises(KubeUnreachable, match=says):
            await api.node("n1")
        await api.close()


async def test_an_etcds_is_accepted(tmp_path: Path) -> None:
    certificate, key, ca = files = sign(tmp_path)
    with EtcdServer(tmp_path / "etcd", tls=files) as server:
        server.start()
        server.configure(SMALL)
        to = make_access(
            (server.url,), cert_file=str(certificate), key_file=str(key), ca_file=str(ca)
        )
        api = EtcdApi(to, patience=PATIENCE)
        try:
            assert await api.get(f"{PREFIX}/config")
        finally:
            await close(api)


@NO_GOOD
async def test_an_etcd_is_checked_all_the_same(
    tmp_path: Path, given: dict[str, Any], says: str
) -> None:
    """Anything that speaks TLS will do: it does not come to more."""
    files = sign(tmp_path, **given)
    async with serving(tls=tls(files)) as server:
        api = EtcdApi(make_access((server.url,), ca_file=str(files[2])), patience=PATIENCE)
        with pytest.raises(Unreachable, match=says):
            await api.get(f"{PREFIX}/config")
        await close(api)
