# SPDX-License-Identifier: Apache-2.0
"""Which line of a program's log tells best why it is of no use.  Pure."""

import re
from collections.abc import Sequence
from typing import Final

# In either form of an agent's log, and in etcd's.
_LEVEL: Final = re.compile(r'\blevel(?:=|": ?")(\w+)')
_TROUBLE: Final = frozenset({"warn", "warning", "error", "critical", "fatal"})
_SETTINGS: Final = re.compile(r'\bevent(?:=|": ")settings\b')  # a thousand characters, all known


def telling(lines: Sequence[str]) -> str:
    """The last line that warns, else the last that is not of settings; empty if there is none.

    A last line without a level stands for itself: it is no event but how a program ends.
    """
    told = [line for line in lines if not _SETTINGS.search(line)]
    if told and _LEVEL.search(told[-1]):
        trouble = [line for line in told if _level(line) in _TROUBLE]
        return (trouble or told)[-1]
    return told[-1] if told else ""


def _level(line: str) -> str:
    found = _LEVEL.search(line)
    return found[1] if found else ""
