# SPDX-License-Identifier: Apache-2.0
"""Tests that need root or network devices: skipped where these are missing, failed in CI."""

import os
import signal
from pathlib import Path

import pytest
from hypothesis import settings

from tests.unable import leave_out

# A busy machine is no error.  And not of the profile that CI=true alone is enough for: that one
# tries the same examples every time.
settings.register_profile("fwd", settings.get_profile("default"), deadline=None, print_blob=True)
settings.load_profile("fwd")

_TUN = Path("/dev/net/tun")

# What is started here is interrupted as from a terminal, however this was: a shell's "&" has it
# ignored, and a program leaves it so.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Before any fixture, so that none is half set up."""
    missing = _missing(item)
    if missing:
        leave_out(missing)


def _missing(item: pytest.Item) -> str | None:
    netns = item.get_closest_marker("netns") is not None
    if (netns or item.get_closest_marker("root")) and os.geteuid() != 0:
        return "needs root"
    if netns and not _TUN.exists():
        return f"needs {_TUN} (modprobe tun)"
    return None
