# SPDX-License-Identifier: Apache-2.0
"""The CNI files: cni-conf.json read and placed, and `fwd install-conf`."""

import os
import stat
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path

import pytest

from fwd.model import IPV4, ConfigError
from fwd.node import cni, installconf
from fwd.node.cni import Mode, Placed
from fwd.node.subnetfile import SubnetEnv

CONF = b'{"name": "cbr0", "plugins": [{"type": "flannel", "subnetFile": "/s"}]}'
ENV = SubnetEnv(
    networks={IPV4: ip_network("10.244.0.0/16")},
    subnets={IPV4: ip_network("10.244.7.0/24")},
    mtu=1450,
    ip_masq=True,
)
NAME = "10-flannel.conflist"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "cni-conf.json"
    path.write_bytes(CONF)
    return path


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "net.d"
    path.mkdir()
    return path


@pytest.fixture
def narrow_umask() -> Iterator[None]:
    old = os.umask(0o077)
    yield
    os.umask(old)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_rendered_content_is_this_nodes(source: Path) -> None:
    conf = cni.load(source, Mode.RENDER)
    assert b'"subnet": "10.244.7.0/24"' in conf.content(ENV)
    assert b'"type": "bridge"' in conf.content(ENV)
    assert conf.ignored == ("subnetFile",)


def test_copied_content_is_the_files(source: Path) -> None:
    conf = cni.load(source, Mode.COPY)
    assert conf.content(ENV) == CONF
    assert conf.ignored == ()


@pytest.mark.parametrize("mode", Mode)
def test_a_file_that_cannot_be_used_is_named_with_its_key(source: Path, mode: Mode) -> None:
    source.write_text('{"name": "cbr0", "plugins": [{}]}')
    with pytest.raises(ConfigError) as raised:
        cni.load(source, mode)
    assert str(raised.value) == f"{source}: plugins[0].type: is missing"
    source.unlink()
    with pytest.raises(ConfigError) as raised:
        cni.load(source, mode)
    assert str(raised.value) == f"failed to read CNI conf: {source}: No such file or directory"


@pytest.mark.usefixtures("narrow_umask")
def test_the_file_is_placed_whole_for_all_to_read(directory: Path) -> None:
    assert cni.place(directory, b"one") is Placed.WRITTEN
    assert [one.name for one in directory.iterdir()] == [NAME]
    assert (directory / NAME).read_bytes() == b"one"
    assert mode_of(directory / NAME) == 0o644


def test_what_is_there_already_is_left_alone(directory: Path) -> None:
    cni.place(directory, b"one")
    before = (directory / NAME).stat()
    assert cni.place(directory, b"one") is Placed.UNCHANGED
    after = (directory / NAME).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert cni.place(directory, b"two") is Placed.WRITTEN
    assert (directory / NAME).read_bytes() == b"two"
    assert (directory / NAME).stat().st_ino != before.st_ino, "replaced, never overwritten"


def test_a_directory_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    assert cni.place(tmp_path / "net.d", b"one") is Placed.NO_DIRECTORY
    assert list(tmp_path.iterdir()) == []


def test_a_link_that_leads_nowhere_is_replaced(directory: Path) -> None:
    (directory / NAME).symlink_to("/nonexistent/file")
    assert cni.place(directory, b"one") is Placed.WRITTEN
    assert not (directory / NAME).is_symlink()


def test_a_place_that_cannot_be_written_is_an_error_and_nothing_is_left(directory: Path) -> None:
    (directory / NAME).mkdir()
    with pytest.raises(IsADirectoryError):
        cni.place(directory, b"one")
    assert [one.name for one in directory.iterdir()] == [NAME]


def test_a_file_in_the_directorys_place_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "net.d").write_text("")
    with pytest.raises(NotADirectoryError):
        cni.place(tmp_path / "net.d", b"one")


@pytest.mark.usefixtures("narrow_umask")
@pytest.mark.parametrize("mode", [0o644, 0o600, 0o755])
def test_install_conf_copies_content_and_mode(source: Path, directory: Path, mode: int) -> None:
    source.chmod(mode)
    link = source.with_name("link")  # as in a mounted ConfigMap
    link.symlink_to(source.name)
    target = directory / NAME
    target.write_text("old")
    inode = target.stat().st_ino
    assert installconf.main([str(link), str(target)]) == 0
    assert target.read_bytes() == CONF
    assert mode_of(target) == mode
    assert target.stat().st_ino != inode, "replaced, never overwritten"
    assert [one.name for one in directory.iterdir()] == [NAME]


def test_install_conf_takes_a_target_without_a_directory(
    source: Path, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(directory)
    assert installconf.main([str(source), NAME]) == 0
    assert (directory / NAME).read_bytes() == CONF


@pytest.mark.parametrize("argv", [[], ["one"], ["one", "two", "three"]])
def test_install_conf_with_wrong_arguments_says_how(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert installconf.main(argv) == 1
    assert capsys.readouterr() == ("", "usage: fwd install-conf SRC DST\n")


@pytest.mark.parametrize("word", ["-h", "-help", "--help"])
def test_install_conf_helps(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert installconf.main([word]) == 0
    assert capsys.readouterr() == ("usage: fwd install-conf SRC DST\n", "")


@pytest.mark.parametrize(
    ("source_name", "target_name", "says"),
    [
        ("none", f"net.d/{NAME}", "none: No such file or directory"),
        ("cni-conf.json", f"none/{NAME}", "none: No such file or directory"),
        ("cni-conf.json", "net.d", "net.d: Is a directory"),
        ("net.d", f"net.d/{NAME}", "net.d: Is a directory"),
    ],
)
@pytest.mark.usefixtures("source", "directory")
def test_install_conf_that_fails_says_why_in_one_line_and_leaves_nothing(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    source_name: str,
    target_name: str,
    says: str,
) -> None:
    before = sorted(tmp_path.rglob("*"))
    assert installconf.main([str(tmp_path / source_name), str(tmp_path / target_name)]) == 1
    assert capsys.readouterr().err == f"fwd install-conf: {tmp_path}/{says}\n"
    assert sorted(tmp_path.rglob("*")) == before
