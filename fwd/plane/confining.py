# SPDX-License-Identifier: Apache-2.0
"""What this process may still do, narrowed for good."""

import os

from fwd._plane import lib


def keep_rights(*, effective: int, permitted: int) -> None:
    """Keeps these capabilities, sets of bits by number, of those there are; and no_new_privs.

    For the thread that calls, and for all that it makes or starts.  permitted is what programs
    that it starts get.  Raises OSError.
    """
    _check(lib.vx_rights_keep(effective, permitted), "give up capabilities")


def _check(done: int, what: str) -> None:
    if done < 0:
        raise OSError(-done, f"cannot {what}: {os.strerror(-done)}")
