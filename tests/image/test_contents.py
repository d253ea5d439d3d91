# SPDX-License-Identifier: Apache-2.0
"""What is in the image, and what its iptables chooses, seen from containers of it."""

import json
import subprocess
import tomllib
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Final

import pytest

from fwd.lab import netns
from tests.image.cluster import ARCHIVE
from tests.image.kubelet import IMAGE, REPOSITORY
from tests.netns.lab_support import ROOT, require
from tests.netns.names import own
from tests.netns.podman_support import Podman, no_cgroups_left, require_podman

NODE: Final = own("ic")
FORBIDDEN: Final = ("gcc", "cc", "clang", "ld", "as", "make", "pip", "perl5-config", "git")
NEEDED: Final = (
    *("/opt/bin/flanneld", "/opt/bin/install-conf", "/opt/bin/install-plugins", "/usr/bin/tini"),
    *("iptables-nft", "iptables-legacy", "ip6tables-nft", "ip6tables-legacy", "nft", "ip", "cp"),
    *("fwd", "flanneld"),
)


@pytest.fixture(scope="module")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    require(fwd=True)
    require_podman()
    if not ARCHIVE.exists():
        pytest.fail(f"there is no {ARCHIVE}: run make image")
    netns.create([NODE])
    try:
        with no_cgroups_left():
            directory = tmp_path_factory.mktemp("contents")
            made = Podman(NODE, conf_dir=directory / "net.d", archive=ARCHIVE)
            try:
                yield made
            finally:
                made.close()
    finally:
        netns.delete([NODE])


def inside(podman: Podman, *argv: str, rights: tuple[str, ...] = ()) -> str:
    """A program in a container that has these capabilities and no other, in the node's network."""
    added = [word for name in rights for word in ("--cap-add", name)]
    return podman.run(
        *("run", "--rm", "--network", "host", "--cap-drop", "ALL", *added),
        *("--ulimit", "nofile=20000:20000", "--ulimit", "nproc=4096:4096"),
        *("--read-only", "--tmpfs", "/run", "--entrypoint", argv[0], IMAGE, *argv[1:]),
    )


def test_it_has_what_it_needs_and_no_compiler(podman: Podman) -> None:
    script = 'for name; do command -v "$name" >/dev/null && echo "$name"; done; true'
    found = inside(podman, "sh", "-c", script, "sh", *NEEDED, *FORBIDDEN).split()
    assert found == list(NEEDED)


def test_the_flags_of_the_program_are_those_of_this_source(podman: Podman) -> None:
    argv = [f"{Path(subprocess.sys.executable).parent}/fwd", "run", "--help"]  # type: ignore[attr-defined]
    here = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=20).stdout
    there = inside(podman, "/opt/bin/flanneld", "--help")
    flags = [line.split()[0] for line in here.splitlines() if line.strip().startswith("--")]
    assert flags
    assert [word for word in flags if word not in there] == []


def test_nothing_in_it_is_newer_than_its_source(podman: Podman) -> None:
    """A stale image would pass for a good one."""
    script = "cd /opt/fwd/lib/python3*/site-packages; find fwd -name '*.py' -exec sha256sum {} +"
    listed = inside(podman, "sh", "-c", script).splitlines()
    there = {path: digest for digest, path in map(str.split, listed)}
    here = {
        str(path.relative_to(ROOT)): sha256(path.read_bytes()).hexdigest()
        for path in (ROOT / "fwd").rglob("*.py")
    }
    assert there == here


def test_it_is_named_and_labelled_by_its_version_and_its_commit(podman: Podman) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    (found,) = json.loads(podman.run("image", "inspect", IMAGE))
    labels = found["Labels"]
    assert labels["org.opencontainers.image.version"] == version
    assert labels["org.opencontainers.image.revision"]
    assert {IMAGE, f"{REPOSITORY}:{version}"} < set(found["RepoTags"])
    assert any(name.startswith(f"{REPOSITORY}:{version}-") for name in found["RepoTags"])


def test_it_says_whose_work_everything_in_it_is(podman: Podman) -> None:
    """Debian's packages and CNI's plugins; what is from PyPI has its licence in its dist-info."""
    script = (
        "for name in $(dpkg-query -W -f '${Package} ') containernetworking-plugins; do"
        ' test -s "/usr/share/doc/$name/copyright" || echo "$name"; done'
    )
    assert inside(podman, "sh", "-c", script) == ""


def test_nft_is_content_with_net_admin_and_legacy_wants_net_raw(podman: Podman) -> None:
    rule = ("-t", "nat", "-A", "POSTROUTING", "-m", "comment", "--comment", "x", "-j", "MASQUERADE")
    inside(podman, "iptables-nft", *rule, rights=("NET_ADMIN",))
    inside(podman, "iptables-nft", "-t", "nat", "-F", rights=("NET_ADMIN",))
    with pytest.raises(AssertionError, match="you must be root"):
        inside(podman, "iptables-legacy", *rule, rights=("NET_ADMIN",))


def test_iptables_in_the_image_is_what_the_node_uses(podman: Podman) -> None:
    assert "nf_tables" in inside(podman, "iptables", "--version", rights=("NET_ADMIN",))
    rule = ("iptables-legacy", "-A", "FORWARD", "-j", "ACCEPT")
    inside(podman, *rule, rights=("NET_ADMIN", "NET_RAW"))
    listed = inside(podman, "iptables", "-S", rights=("NET_ADMIN", "NET_RAW"))
    assert "-A FORWARD -j ACCEPT" in listed
    with pytest.raises(AssertionError, match="needs CAP_NET_RAW"):
        inside(podman, "iptables", "-S", rights=("NET_ADMIN",))
