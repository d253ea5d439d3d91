# SPDX-License-Identifier: Apache-2.0
"""deploy/build-image and deploy/make-base, with stand-ins for the programs that take minutes."""

import os
import re
import shlex
import subprocess
import tarfile
import tomllib
from pathlib import Path
from typing import Final

import pytest

from tests.deploy.rendering import ROOT

_LIMIT: Final = 30.0  # seconds; each takes a tenth of one
_WEEK: Final = 7 * 24 * 3600

# Writes down what it was called with, and does what is appended.
_STAND_IN: Final = """#!/bin/bash
printf '%s\\0' "${{0##*/}}" "$@" >>{log}
echo >>{log}
{does}
"""
_DEBOOTSTRAP: Final = """
root=$3
mkdir -p "$root"/{etc/apt/sources.list.d,usr/share/doc/{bash,libc6/more},var/lib/apt/lists}
echo "deb ${4-http://deb.debian.org/debian} $2 main" >"$root/etc/apt/sources.list"
echo 'ID=debian' >"$root/etc/os-release"
for name in bash/copyright bash/README libc6/copyright libc6/more/changelog.gz; do
	echo "$name" >"$root/usr/share/doc/$name"
done
ln -s libc6 "$root/usr/share/doc/libc-bin"
"""


class Tools:
    """A directory of stand-ins before all others on PATH."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.log = directory / "log"
        self.bin = directory / "bin"
        self.bin.mkdir(parents=True)

    def add(self, name: str, does: str = "") -> None:
        path = self.bin / name
        path.write_text(_STAND_IN.format(log=shlex.quote(str(self.log)), does=does))
        path.chmod(0o755)

    def run(self, *argv: str, cwd: Path, **variables: str) -> str:
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        environ = kept | variables | {"PATH": f"{self.bin}:{kept['PATH']}"}
        done = subprocess.run(
            argv, cwd=cwd, env=environ, capture_output=True, text=True, timeout=_LIMIT, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def called(self, name: str) -> list[list[str]]:
        """Arguments, of each call."""
        if not self.log.exists():
            return []
        calls = [line.split("\0")[:-1] for line in self.log.read_text().splitlines()]
        return [call[1:] for call in calls if call[0] == name]


# The image.


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A checkout of what an image is made of."""
    top = tmp_path / "source"
    (top / "deploy").mkdir(parents=True)
    (top / "fwd").mkdir()
    for name in ("deploy/build-image", "deploy/make-base", "deploy/Dockerfile", "pyproject.toml"):
        (top / name).write_bytes((ROOT / name).read_bytes())
    for name in ("deploy/build-image", "deploy/make-base"):
        (top / name).chmod(0o755)
    (top / "fwd/agent.py").write_text("1\n")
    git(top, "init", "--quiet")
    commit(top)
    return top


def git(top: Path, *argv: str) -> str:
    author = ["-c", "user.name=x", "-c", "user.email=x@example"]
    done = subprocess.run(
        ["git", *author, *argv],
        cwd=top,
        capture_output=True,
        text=True,
        timeout=_LIMIT,
        check=True,
    )
    return done.stdout.strip()


def commit(top: Path) -> None:
    git(top, "add", "--all")
    git(top, "commit", "--quiet", "--message", "x")


@pytest.fixture
def builders(tmp_path: Path) -> Tools:
    tools = Tools(tmp_path / "builders")
    tools.add("unshare", 'shift; exec "$@"')
    tools.add("buildah")
    tools.add("podman")
    return tools


def built(tools: Tools, source: Path, **variables: str) -> tuple[str, list[str]]:
    """What is said, and the names in the archive."""
    archive = source / "build/image/fwd.tar"
    variables = {"BASE": "debian"} | variables
    said = tools.run("deploy/build-image", str(archive), cwd=source, **variables)
    save = tools.called("podman")[-1]
    assert save[save.index("--output") + 1] == str(archive)
    names = save[save.index("--output") + 2 :]
    bud = [call for call in tools.called("buildah") if "bud" in call][-1]
    given = [word.removeprefix("--tag=") for word in bud if word.startswith("--tag=")]
    assert given == names, "what is built under a name is saved under it"
    return said, names


def version(source: Path) -> str:
    project: dict[str, str] = tomllib.loads((source / "pyproject.toml").read_text())["project"]
    return project["version"]


def test_an_image_is_named_by_its_version_and_its_commit(builders: Tools, source: Path) -> None:
    said, names = built(builders, source)
    unique = f"{version(source)}-{git(source, 'rev-parse', '--short', 'HEAD')}"
    expected = ["latest", version(source), unique]
    assert names == [f"localhost/fwd:{tag}" for tag in expected]
    assert f"kustomize edit set image fwd=localhost/fwd:{unique}\n" in said
    stanza = f"images: [{{name: localhost/fwd, newName: localhost/fwd, newTag: {unique}}}]\n"
    assert stanza in said
    assert f"--set flannel.image.tag={unique}" in said


@pytest.mark.parametrize(
    ("image", "repository", "tags"),
    [
        ("registry.example/fwd", "registry.example/fwd", ["latest", "VERSION"]),
        ("registry.example:5000/a/fwd", "registry.example:5000/a/fwd", ["latest", "VERSION"]),
        ("registry.example:5000/fwd:9", "registry.example:5000/fwd", ["9", "VERSION"]),
        ("fwd:VERSION", "fwd", ["VERSION"]),
    ],
)
def test_a_name_that_is_asked_for_is_the_first(
    image: str, repository: str, tags: list[str], builders: Tools, source: Path
) -> None:
    ours = version(source)
    _, names = built(builders, source, IMAGE=image.replace("VERSION", ours))
    *first, last = names
    assert first == [f"{repository}:{tag.replace('VERSION', ours)}" for tag in tags]
    assert last.startswith(f"{repository}:{ours}-")


def test_what_is_not_committed_is_never_named_as_a_commit(builders: Tools, source: Path) -> None:
    """Or two contents would have one name, and nothing would roll."""
    head = git(source, "rev-parse", "--short", "HEAD")
    (source / "fwd/agent.py").write_text("2\n")
    _, names = built(builders, source)
    assert re.fullmatch(rf"localhost/fwd:{version(source)}-{head}-\d{{8}}T\d{{6}}Z", names[-1])


def test_what_is_not_in_the_image_does_not_change_its_name(builders: Tools, source: Path) -> None:
    """`kustomize edit set image` changes the base's kustomization."""
    _, before = built(builders, source)
    (source / "deploy/kustomization.yaml").write_text("images: []\n")
    _, after = built(builders, source)
    assert after == before


def test_a_source_without_git_is_named_by_its_time(builders: Tools, source: Path) -> None:
    (source / ".git").rename(source.parent / "git")
    _, names = built(builders, source, GIT_CEILING_DIRECTORIES=str(source.parent))
    assert re.fullmatch(rf"localhost/fwd:{version(source)}-\d{{8}}T\d{{6}}Z", names[-1])


def test_version_and_commit_are_labels(builders: Tools, source: Path) -> None:
    built(builders, source)
    (bud,) = (call for call in builders.called("buildah") if "bud" in call)
    assert bud[-1] == "."
    given = dict(bud[at + 1].split("=", 1) for at, word in enumerate(bud) if word == "--build-arg")
    assert given["VERSION"] == version(source)
    assert given["REVISION"] == git(source, "rev-parse", "HEAD")
    text = (source / "deploy/Dockerfile").read_text()
    for name in ("VERSION", "REVISION"):
        assert re.search(rf"^ARG {name}=", text, re.MULTILINE)
        assert f"org.opencontainers.image.{name.lower()}=${{{name}}}" in text


# The base.


@pytest.fixture
def debian(tmp_path: Path) -> Tools:
    tools = Tools(tmp_path / "debian")
    tools.add("debootstrap", _DEBOOTSTRAP)
    sources = 'find "$1" -path "*/sources.list.d/*" -exec cat {} +'  # there may be none
    tools.add("chroot", f"{sources} >{tmp_path}/sources")
    return tools


def base(tools: Tools, tmp_path: Path, **variables: str) -> set[str]:
    """Names of the files in it."""
    tarball = tmp_path / "image/base.tar"
    variables = {"SUITE": "bookworm"} | variables
    tools.run("deploy/make-base", str(tarball), cwd=ROOT, **variables)
    with tarfile.open(tarball) as archive:
        return {one.name for one in archive if not one.isdir()}


@pytest.mark.parametrize(
    ("variables", "source"),
    [
        ({}, "deb http://deb.debian.org/debian-security bookworm-security main\n"),
        (
            {"SECURITY": "http://mirror.example/security"},
            "deb http://mirror.example/security bookworm-security main\n",
        ),
        ({"SECURITY": ""}, ""),
        ({"SUITE": "sid"}, ""),
    ],
)
def test_a_base_has_the_security_updates(
    variables: dict[str, str], source: str, debian: Tools, tmp_path: Path
) -> None:
    base(debian, tmp_path, **variables)
    (call,) = debian.called("chroot")
    assert re.search(r"apt-get.* update && .*apt-get.* upgrade --yes", call[-1])
    assert (tmp_path / "sources").read_text() == source, "it is there when apt is asked"


def test_a_base_comes_from_the_mirror_that_is_named(debian: Tools, tmp_path: Path) -> None:
    base(debian, tmp_path)
    base(debian, tmp_path / "other", MIRROR="http://mirror.example/debian")
    first, second = debian.called("debootstrap")
    assert len(first) == 3
    assert second[3:] == ["http://mirror.example/debian"]


def test_a_base_keeps_licences_and_no_other_documentation(debian: Tools, tmp_path: Path) -> None:
    prefix = "./usr/share/doc/"
    documents = {name.removeprefix(prefix) for name in base(debian, tmp_path) if prefix in name}
    assert documents == {"bash/copyright", "libc6/copyright", "libc-bin"}


@pytest.fixture
def aged(debian: Tools, tmp_path: Path) -> Path:
    base(debian, tmp_path)
    return tmp_path / "image/base.tar"


@pytest.mark.parametrize(
    ("variables", "age", "times"),
    [({}, _WEEK - 3600, 1), ({}, _WEEK + 3600, 2), ({"DAYS": "30"}, _WEEK + 3600, 1)],
)
def test_a_base_is_made_anew_after_a_week(
    variables: dict[str, str], age: int, times: int, aged: Path, debian: Tools, tmp_path: Path
) -> None:
    then = aged.stat().st_mtime - age
    os.utime(aged, (then, then))
    base(debian, tmp_path, **variables)
    assert len(debian.called("debootstrap")) == times


# The Dockerfile, whose result tests/image looks at.


def test_the_dockerfile_copies_what_a_name_is_made_from() -> None:
    """build-image asks git for changes of just that."""
    text = (ROOT / "deploy/Dockerfile").read_text()
    copied = {
        word
        for line in re.findall(r"^COPY (?!--from)(.*)$", text, re.MULTILINE)
        for word in line.split()[:-1]
    }
    script = (ROOT / "deploy/build-image").read_text()
    (asked,) = re.findall(r"^content=\((.*?)\)$", script, re.MULTILINE | re.DOTALL)
    assert set(asked.split()) == copied | {"deploy/Dockerfile"}
