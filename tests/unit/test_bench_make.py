# SPDX-License-Identifier: Apache-2.0
"""What bench's Makefiles hand on, and which compiler the counts are said to be of."""

import os
import subprocess
from pathlib import Path

import pytest

from bench.micro import counts

BENCH = Path(__file__).resolve().parents[2] / "bench"


def dry_run(directory: Path, *words: str) -> str:
    """What make would do."""
    return subprocess.run(
        ["make", "--dry-run", "--no-print-directory", "-C", directory, *words],
        env={name: value for name, value in os.environ.items() if not name.startswith("MAKE")},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout


@pytest.mark.parametrize("target", ["kube", "scrape", "busy", "survive", "adversity"])
def test_arguments_are_handed_on(target: str) -> None:
    assert dry_run(BENCH, target, "ARGS=--seconds 600").rstrip().endswith(" --seconds 600")


def test_each_of_etcds_programs_has_arguments_of_its_own() -> None:
    lines = dry_run(BENCH, "etcd", "SCALE=--leases 7", "FIFTY=--nodes 8").splitlines()
    assert [line.partition("-m ")[2] for line in lines] == [
        "bench.etcd_scale --leases 7",
        "bench.etcd_fifty --nodes 8",
    ]


def test_counts_are_told_the_compiler() -> None:
    last = dry_run(BENCH / "micro", "counts", "CC=some compiler").splitlines()[-1]
    assert last.startswith("CC='some compiler' ")


@pytest.mark.parametrize(
    ("name", "said", "told"),
    [
        ("other-cc", "Other version 7", "Other version 7"),
        ("gcc-12", "gcc-12 (Debian 12.2.0-14) 12.2.0", "cc (Debian 12.2.0-14) 12.2.0"),
    ],
)
def test_the_compiler_is_the_one_that_made_the_program(
    name: str, said: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler = tmp_path / name
    compiler.write_text(f"#!/bin/sh\n[ \"$*\" = '-pipe --version' ] && echo '{said}'\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CC", f"{compiler} -pipe")
    assert counts.made_by()["compiler"] == told
