# SPDX-License-Identifier: Apache-2.0
"""The report: lines for people, a document for machines."""

import sys
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from rich.console import Console
from rich.text import Text

from fwd.ops.doctor.finding import Finding, Grade
from fwd.ops.printable import printable

_WIDTH = 110
"""Of a report that goes into a file or a pipe."""
_GRADE_WIDTH = 7
_LEAST_WIDTH = 30
_STYLE = {Grade.WELL: "green", Grade.NOTE: "yellow", Grade.WRONG: "bold red"}


def is_well(findings: Sequence[Finding]) -> bool:
    """Whether nothing is wrong."""
    return all(one.grade is not Grade.WRONG for one in findings)


def document(findings: Sequence[Finding]) -> str:
    """JSON: whether all is well, and each finding."""
    return msgspec.json.encode(
        {"well": is_well(findings), "findings": [_entry(one) for one in findings]}
    ).decode()


def _entry(one: Finding) -> dict[str, Any]:
    return {
        "looked-at": one.looked_at,
        "grade": one.grade.value,
        "found": one.found,
        "remedy": one.remedy,
    }


def tell(findings: Sequence[Finding], *, as_json: bool) -> None:
    """Prints the report, for people unless it is to be JSON."""
    if sys.stdout is None:  # closed by whoever asked: the exit code is all that is wanted
        return
    if as_json:
        sys.stdout.write(f"{document(findings)}\n")
        return
    console = Console(width=None if sys.stdout.isatty() else _WIDTH, highlight=False)
    subjects = (printable(one.looked_at) for one in findings)
    margin = max(map(len, subjects), default=0) + _GRADE_WIDTH + 2
    for one in findings:
        for line in _lines(one, margin, width=max(console.width - margin, _LEAST_WIDTH)):
            console.print(line, soft_wrap=True)
    console.print(summary(findings))


def _lines(one: Finding, margin: int, *, width: int) -> Iterator[Text]:
    """The grade and the subject, what was found beside them, and what to do under that."""
    grade = one.grade.value.upper() if one.grade is Grade.WRONG else one.grade.value
    begin = Text(f"{grade:<{_GRADE_WIDTH}}", style=_STYLE[one.grade])
    begin.append(f"{printable(one.looked_at):<{margin - _GRADE_WIDTH}}", style="default")
    for text in _wrapped(one.found, width):
        yield Text.assemble(begin, text)
        begin = Text(" " * margin)
    for text in _wrapped(f"-> {one.remedy}" if one.remedy else "", width):
        yield Text.assemble(begin, (text, "bold" if one.grade is Grade.WRONG else ""))


def _wrapped(text: str, width: int) -> list[str]:
    """Commands and paths stay in one piece, as they are to be copied."""
    lines = textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)
    return [printable(line) for line in lines]


def summary(findings: Sequence[Finding]) -> str:
    """The last line."""
    count = sum(one.grade is Grade.WRONG for one in findings)
    if not count:
        return f"all is well: {len(findings)} things looked at"
    return f"{count} {'thing is' if count == 1 else 'things are'} wrong"
