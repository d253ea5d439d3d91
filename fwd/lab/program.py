# SPDX-License-Identifier: Apache-2.0
"""What a command of the lab's kind ends with: an exit code, and one line when it did not work."""

import sys
from collections.abc import Callable

from fwd.lab import child, signals
from fwd.lab.errors import Interrupted, LabError


def exit_code(name: str, do: Callable[[], int]) -> int:
    """That of ``do``, as root; 1 after a LabError, 128 and the number after a signal."""
    try:
        with signals.as_exceptions():
            child.require_root()
            return do()
    except LabError as error:
        for line in error.detail:
            print(line, file=sys.stderr)
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    except Interrupted as interrupted:
        print(f"{name}: interrupted", file=sys.stderr)
        return 128 + interrupted.signum
