# SPDX-License-Identifier: Apache-2.0
"""Tests that need root or network devices: skipped where these are missing, failed in CI.

Of several test processes (`-n 2`) one has all tests with devices and one all that build with make:
they would get in each other's way.
"""

import os
from pathlib import Path

import pytest

_TUN = Path("/dev/net/tun")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Groups for `--dist loadgroup`."""
    for item in items:
        if any(item.iter_markers("netns")) or any(item.iter_markers("root")):
            item.add_marker(pytest.mark.xdist_group("devices"))
        elif "native" in item.path.parts:
            item.add_marker(pytest.mark.xdist_group("make"))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Before any fixture, so that none is half set up."""
    missing = _missing(item)
    if missing and os.environ.get("CI") == "true":
        pytest.fail(f"{missing}, and in CI no test may be left out", pytrace=False)
    if missing:
        pytest.skip(missing)


def _missing(item: pytest.Item) -> str | None:
    netns = item.get_closest_marker("netns") is not None
    if (netns or item.get_closest_marker("root")) and os.geteuid() != 0:
        return "needs root"
    if netns and not _TUN.exists():
        return f"needs {_TUN} (modprobe tun)"
    return None
