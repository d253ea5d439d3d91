# SPDX-License-Identifier: Apache-2.0
"""What becomes of a test that cannot run here."""

import os
from typing import NoReturn

import pytest


def leave_out(reason: str) -> NoReturn:
    """Skips it; fails it instead where nobody looks at skips."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason}, and in CI no test may be left out", pytrace=False)
    pytest.skip(reason)
