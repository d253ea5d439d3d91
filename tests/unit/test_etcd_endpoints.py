# SPDX-License-Identifier: Apache-2.0
"""What may be said with --etcd-endpoints and the files beside it, before anything is asked."""

import ssl
from pathlib import Path
from typing import Any

import pytest

from fwd.model import ConfigError
from fwd.sources.etcdaccess import make_access, tell_insecure
from tests.certificates import Authority


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"), "authority")


def test_endpoints_are_urls_or_host_and_port() -> None:
    found = make_access(("http://[::1]:1", "10.0.0.1", " https://etcd.example:7/ ")).endpoints
    assert [(one.host, one.port, one.is_tls) for one in found] == [
        ("::1", 1, False),
        ("10.0.0.1", 2379, False),
        ("etcd.example", 7, True),
    ]


@pytest.mark.parametrize(
    "text",
    ["ftp://a:1", "http://", "http://a:b", "http://a:1/v3", "unix:///run/etcd", "http://u@a"],
)
def test_what_is_no_endpoint_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--etcd-endpoints: "):
        make_access((text,))


@pytest.mark.parametrize(
    "text",
    [
        "http://root:s3cret@a:1",
        "http://:s3cret@a:1",
        "http://root:s3cret/x@a:1",
        "http://root:s3cret#x@a:1",
        "http://root:s3cret@x@a:b",
        "http://root:s3cret\u2100@a:1",
        "root:s3cret@a:1",
        "root:s3cret://x@a:1",
        "http://root:s3cret,x@a:1",
        "http://root:x,s3cret,x@a:1",
    ],
)
def test_a_password_is_not_quoted(text: str) -> None:
    with pytest.raises(ConfigError, match="a URL must have no user") as caught:
        make_access(tuple(text.split(",")))
    assert "s3cret" not in str(caught.value)


def test_files_that_cannot_be_used_are_named(authority: Authority, tmp_path: Path) -> None:
    certificate, key, _ = map(str, authority.sign("n4"))
    other_key = str(authority.sign("n5")[1])
    url = ("https://127.0.0.1:1",)
    nonsense = tmp_path / "nonsense"
    nonsense.write_text("x")
    rows: tuple[tuple[dict[str, Any], str], ...] = (
        ({"cert_file": certificate}, "--etcd-keyfile"),
        ({"key_file": key}, "--etcd-certfile"),
        ({"cert_file": "/nowhere.crt", "key_file": key}, "/nowhere.crt"),
        ({"cert_file": certificate, "key_file": "/nowhere.key"}, "/nowhere.key"),
        ({"cert_file": certificate, "key_file": other_key}, "KEY_VALUES_MISMATCH"),
        ({"ca_file": "/nowhere.ca"}, "--etcd-cafile /nowhere.ca"),
        ({"ca_file": str(nonsense)}, f"--etcd-cafile {nonsense}"),
    )
    for files, named in rows:
        with pytest.raises(ConfigError) as caught:
            make_access(url, **files)
        assert str(caught.value).startswith("Failed to create SubnetManager: ")
        assert named in str(caught.value)


def test_an_old_tls_is_not_spoken(authority: Authority) -> None:
    context = make_access(("https://a:1",), ca_file=str(authority.ca)).context()
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname


def test_what_is_not_secret_is_said(caplog: pytest.LogCaptureFixture, authority: Authority) -> None:
    tell_insecure(make_access(("https://a:1",), ca_file=str(authority.ca)))
    assert not caplog.records
    tell_insecure(make_access(("http://a:1", "https://b:2")))
    assert "This is insecure" in caplog.records[-1].getMessage()
    tell_insecure(make_access(("http://a:1",), ca_file=str(authority.ca)))
    assert "no effect" in caplog.records[-1].getMessage()
