# SPDX-License-Identifier: Apache-2.0
"""What becomes of a test that cannot run here."""

import os
import sysconfig
from pathlib import Path
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


def require_filters() -> None:
    """Of system calls: what a sanitizer's module calls is not on the list."""
    require_list_of_calls()
    if os.environ.get("FWD_SANITIZE"):
        leave_out("a sanitizer's module has no filters")


def require_list_of_calls() -> None:
    """There is none but for the interpreter's of these (cext/callprogram.c)."""
    if sysconfig.get_platform() not in {"linux-x86_64", "linux-aarch64"}:
        leave_out("system calls are limited on amd64 and arm64 only")


def require_header(path: Path) -> str:
    """The text of one of the kernel's."""
    if not path.exists():
        leave_out(f"needs {path} (linux-libc-dev)")
    return path.read_text()
