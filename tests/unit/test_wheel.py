# SPDX-License-Identifier: Apache-2.0
"""What `pip install .` builds: one wheel for every Python, with the C modules in it and no source.

The build runs in a copy of the tree, without pip's isolated environment and so without a network.
"""

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


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tree = tmp_path_factory.mktemp("tree")
    for name in ("LICENSE", "MANIFEST.in", "README.md", "pyproject.toml", "setup.py"):
        shutil.copy(ROOT / name, tree)
    for name in ("cext", "fwd"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("*.so"))
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
