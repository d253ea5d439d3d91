# SPDX-License-Identifier: Apache-2.0
"""What these commands' command lines have in common."""

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from fwd.flags import UsageError
from fwd.runflags import RUN_DIR


class Parser(argparse.ArgumentParser):
    """A wrong command line is a UsageError, as everywhere."""

    def __init__(self, program: str, description: str) -> None:
        super().__init__(prog=program, description=description, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """As argparse calls it."""
        raise UsageError(message)

    def add_run_dir(self) -> None:
        """--run-dir, as `fwd run` has it."""
        default = RUN_DIR.parse(os.environ.get(RUN_DIR.variable) or str(RUN_DIR.default))
        self.add_argument(
            "--run-dir", type=Path, default=default, metavar="DIR", help=f"default: {default}"
        )


def at_least(low: float, kind: type[float] = float) -> Callable[[str], float]:
    """A type for an argument: a number that is not smaller."""

    def parse(text: str) -> float:
        value = kind(text)
        if not low <= value < float("inf"):
            raise argparse.ArgumentTypeError(f"must be {low:g} or more")
        return value

    parse.__name__ = "whole number" if issubclass(kind, int) else "number"
    return parse
