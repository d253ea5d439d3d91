# SPDX-License-Identifier: Apache-2.0
"""A -errno of C becomes one OSError whose text says what to do."""

import os

from fwd.core.oshints import hint


def check(done: int, what: str, *, device: str) -> None:
    """Raises the OSError for a -errno, with what to do about it where that is known."""
    if done < 0:
        advice = hint(what.partition(" ")[0], -done, device=device)
        raise OSError(-done, f"cannot {what}: {advice or os.strerror(-done)}")
