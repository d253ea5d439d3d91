# SPDX-License-Identifier: Apache-2.0
"""What `pip install .` builds: one wheel for every Python, with the C modules in it and no source.

And the source distribution, in which make works as in a clone.  The builds run in copies of the
tree, without pip's isolated environment and so without a network.
"""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str, cwd: Path) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def copy(tree: Path, *names: str) -> None:
    """Without what was built."""
    ignore = shutil.ignore_patterns("*.so", "__pycache__", ".hypothesis")
    for name in names:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tree / name, symlinks=True, ignore=ignore)
        else:
            shutil.copy(ROOT / name, tree)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tree = tmp_path_factory.mktemp("tree")
    copy(tree, "LICENSE", "MANIFEST.in", "README.md", "pyproject.toml", "setup.py", "cext", "fwd")
    run(
        *("-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index"),
        *("--no-build-isolation", "--wheel-dir", "dist", "."),
        cwd=tree,
    )
    (path,) = (tree / "dist").glob("*.whl")
    return path


def test_wheel_serves_every_python_from_3_11(wheel: Path) -> None:
    assert "-cp311-abi3-linux_" in wheel.name


def test_wheel_holds_the_modules_and_no_source(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {"fwd/_plane.abi3.so", "fwd/_traffic.abi3.so"} <= set(names)
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"fwd"}
    assert {Path(name).suffix for name in names if name.startswith("fwd/")} == {".py", ".so"}


def test_modules_of_the_wheel_load(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path)
    program = (
        "import sys; sys.path.insert(0, '.'); from fwd import _plane, _traffic;"
        "assert _traffic.lib.TG_MIN_SIZE == 16;"
        "print(_plane.__file__, _plane.lib.vx_counter_count())"
    )
    place, count = run("-P", "-c", program, cwd=tmp_path).split()
    assert Path(place).resolve().is_relative_to(tmp_path.resolve())
    assert int(count) > 0


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Unpacked."""
    place = tmp_path_factory.mktemp("sdist")
    no_source = re.compile(r"\.git|\.venv|build|dist|.*(?:\.egg-info|_cache)")
    names = [path.name for path in ROOT.iterdir() if not no_source.fullmatch(path.name)]
    (place / "clone").mkdir()
    copy(place / "clone", *names)
    program = "from setuptools import build_meta; build_meta.build_sdist('..')"
    run("-c", program, cwd=place / "clone")
    (archive,) = place.glob("*.tar.gz")
    subprocess.run(["tar", "xf", archive, "-C", place], timeout=60, check=True)
    return place / archive.name.removesuffix(".tar.gz")


def test_the_source_distribution_has_every_file_that_make_names(sdist: Path) -> None:
    """By its path, or as a module."""
    makefile = (ROOT / "Makefile").read_text()
    targets = re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE)
    assert {"demo", "test", "check", "fuzz", "bench", "image"} <= set(targets)
    done = subprocess.run(
        ["make", "--dry-run", "--no-print-directory", *targets],
        cwd=sdist,
        env={name: value for name, value in os.environ.items() if not name.startswith("MAKE")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    words = set(re.findall(r"[\w./-]+", makefile + done.stdout))
    words |= {f"{word.replace('.', '/')}.py" for word in words}
    words |= {".dockerignore"}  # of the image's build
    others = re.compile(r"/|\.venv/|build/|.*\.so$")  # the machine's, and what make makes
    named = {word for word in words if (ROOT / word).is_file() and not others.match(word)}
    assert {".ci/packages", "deploy/build-image", "bench/soak.py", "tests/fuzz/parsers.py"} <= named
    assert {word for word in named if not (sdist / word).is_file()} == set()
    assert all(os.access(sdist / word, os.X_OK) for word in (".ci/packages", "deploy/build-image"))
