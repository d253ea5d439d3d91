# SPDX-License-Identifier: Apache-2.0
"""What becomes of a test that cannot run here."""

import os
from typing import NoReturn

import pytest


def leave_out(reason: str) -> NoReturn:
    """Skips it; fails it instead where nobody looks at skips."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason}, and in CI no test may be left out", pytrace=False)
    pytest.skip(reason)  # at somebody's desk, who reads what was left out and why


def require_tunnel_gso() -> None:
    """An older kernel has none, which is told as fallen back (tests/unit/test_ops.py)."""
    if tuple(map(int, os.uname().release.split(".")[:2])) < (6, 17):
        leave_out("needs Linux 6.17")
