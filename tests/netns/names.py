# SPDX-License-Identifier: Apache-2.0
"""Names that no other run of the tests has, so that runs side by side do not meet."""

import os


def own(name: str) -> str:
    """This run's name for it."""
    return f"{name}{os.getpid()}"
