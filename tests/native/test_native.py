# SPDX-License-Identifier: Apache-2.0
"""Runs the C tests, built with ASan and UBSan, one pytest test a program.

How they are built and run is the Makefile's business; what they check is in test_<unit>.c.  The
other flavours (TSan, the optimized one) are `make tsan` and `make -C tests/native run-plain`.
"""

import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
UNITS = sorted(path.stem.removeprefix("test_") for path in HERE.glob("test_*.c"))
BUILD_LIMIT = 300  # seconds, for all programs
RUN_LIMIT = 120  # seconds, for one


def make(*arguments: str, limit: int) -> None:
    """Runs make in this directory; what it printed is the message if it fails."""
    try:
        done = subprocess.run(
            ["make", "--no-print-directory", "-C", HERE, *arguments],
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=limit,
        )
    except FileNotFoundError:
        pytest.fail("make is missing: apt install build-essential", pytrace=False)
    except subprocess.TimeoutExpired as late:
        pytest.fail(f"{late}\n{late.stdout!r}", pytrace=False)
    if done.returncode:
        pytest.fail(done.stdout, pytrace=False)


@pytest.fixture(scope="module")
def programs() -> None:
    make("-j2", "asan", limit=BUILD_LIMIT)


@pytest.mark.usefixtures("programs")
@pytest.mark.parametrize("unit", UNITS)
def test_unit(unit: str) -> None:
    # make's own limit ends the program first, so that nothing is left running.
    make("run-asan", f"ONLY={unit}", f"LIMIT={RUN_LIMIT}", limit=RUN_LIMIT + BUILD_LIMIT)
