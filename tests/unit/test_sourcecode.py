# SPDX-License-Identifier: Apache-2.0
"""The linters as tests, so that "the tests pass" also means "the code is clean".

Only what a tool or a count can tell.  C without a warning from both compilers is
`make check`'s, as it takes two builds.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

MAX_LINES = 300
C_COLUMNS = 80

# A file that is better long than cut: path and why.
LONG_FILES: dict[str, str] = {}

LINTERS = {
    "ruff check": ["-m", "ruff", "check"],
    "ruff format": ["-m", "ruff", "format", "--check"],
    "mypy --strict": ["-m", "mypy"],
    "import-linter": [
        "-c",
        "from importlinter.cli import lint_imports_command; lint_imports_command()",
        "--no-cache",
    ],
}


def sources(*suffixes: str) -> list[str]:
    """Our own source files with these suffixes, as paths relative to the root."""
    return sorted(
        str(path.relative_to(ROOT))
        for top in ("bench", "cext", "fwd", "tests")
        for path in (ROOT / top).rglob("*")
        if path.suffix in suffixes and "build" not in path.parent.parts
    )


def lines_of(path: str) -> list[str]:
    return (ROOT / path).read_text().splitlines()


@pytest.mark.parametrize("arguments", LINTERS.values(), ids=LINTERS.keys())
def test_linter_is_silent(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_files_are_short() -> None:
    lengths = {path: len(lines_of(path)) for path in sources(".py", ".c", ".h", ".def")}
    long = {path for path, length in lengths.items() if length > MAX_LINES}
    report = ", ".join(f"{path}: {lengths[path]}" for path in sorted(long - LONG_FILES.keys()))
    assert not report, f"more than {MAX_LINES} lines: {report}"
    assert LONG_FILES.keys() <= long, "an exception that is not needed any more"


def test_nobody_is_told_to_install_fwd_by_name() -> None:
    """That name on PyPI is somebody else's: whoever did it would run a stranger's code."""
    by_name = re.compile(rb"'fwd\[|\bpip3? install\b(?:\s+-\S+)*\s+['\"]?fwd\b")
    assert by_name.search(b"pip install 'fwd[etcd]'")
    assert by_name.search(b"pip install --user fwd")
    files = [path for path in ROOT.iterdir() if path.is_file()]
    for top in (".ci", "bench", "cext", "deploy", "docs", "fwd", "tests"):
        files += [path for path in (ROOT / top).rglob("*") if path.is_file()]
    named = [
        str(path.relative_to(ROOT))
        for path in files
        if path.suffix not in (".pyc", ".so")
        and path != Path(__file__)
        and by_name.search(path.read_bytes())
    ]
    assert not named


def test_c_files_name_their_licence_first() -> None:
    notice = "/* SPDX-License-Identifier: Apache-2.0"
    files = sources(".c", ".h", ".def")
    assert [path for path in files if not lines_of(path)[0].startswith(notice)] == []


def test_c_fits_eighty_columns() -> None:
    wide = [
        f"{path}:{number}"
        for path in sources(".c", ".h", ".def")
        for number, line in enumerate(lines_of(path), start=1)
        if len(line.expandtabs(8)) > C_COLUMNS or line != line.rstrip()
    ]
    assert not wide, f"more than {C_COLUMNS} columns, or blanks at the end: {', '.join(wide)}"
