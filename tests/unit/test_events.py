# SPDX-License-Identifier: Apache-2.0
"""The log's events against docs/operations.md: none is missing there, none is named that is not.

What is told is read from the source: a call of `log.info`, `log.warning` or the supervisor's `say`.
An event is a constant there, or the first argument of a function that hands it on, or begins with
`Contact`'s word for a server.
"""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/operations.md"

_TELLING = {"log.info", "log.warning", "say"}
_OTHER_PROGRAMS = ("fwd/lab/", "fwd/bench/")
_WORD = "self._word"


class Call(NamedTuple):
    path: str
    function: str
    """Where it stands."""
    names: str
    """What is called, as it is written."""
    first: ast.expr | None
    """Its first argument."""


@cache
def calls() -> tuple[Call, ...]:
    """All that stand in functions of the agent and its commands."""
    paths = (str(path.relative_to(ROOT)) for path in ROOT.glob("fwd/**/*.py"))
    return tuple(
        Call(path, function.name, ast.unparse(call.func), next(iter(call.args), None))
        for path in paths
        if not path.startswith(_OTHER_PROGRAMS)
        for function in ast.walk(ast.parse((ROOT / path).read_text()))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for call in ast.walk(function)
        if isinstance(call, ast.Call)
    )


def words(call: Call) -> Iterator[str]:
    """What the first argument of a call can be."""
    match call.first:
        case ast.Constant(value=str(text)):
            yield text
        case ast.Name():  # an argument of the function that it stands in
            for other in calls():
                is_near = other.path == call.path or not call.function.startswith("_")
                if is_near and other.names.split(".")[-1] == call.function:
                    yield from words(other)
        case ast.Attribute() | ast.JoinedStr() as made:
            pattern = ast.unparse(made).removeprefix("f").strip("'")
            assert _WORD in pattern, f"{call.path}: an event that no test can find: {pattern}"
            for other in calls():
                if other.names == "Contact":
                    for word in words(other):
                        yield pattern.replace(f"{{{_WORD}}}", word).replace(_WORD, word)
        case _:
            raise AssertionError(f"{call.path}: {call.names} without an event")


def told() -> dict[str, str]:
    """Events, and where one is told."""
    return {event: call.path for call in calls() if call.names in _TELLING for event in words(call)}


def explained() -> list[str]:
    """Names in the first column of the page's table."""
    section = PAGE.read_text().split("\n## Log\n")[1].split("\n## ")[0]
    cells = (line.split("|")[1] for line in section.splitlines() if line.startswith("| `"))
    return [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]


def test_every_event_is_explained_once_and_no_other() -> None:
    events, rows = told(), Counter(explained())
    missing = sorted(f"{event} ({path})" for event, path in events.items() if event not in rows)
    assert not missing, f"no row has {', '.join(missing)}"
    assert rows.keys() <= events.keys(), f"nobody says {', '.join(rows.keys() - events.keys())}"
    assert max(rows.values()) == 1, rows.most_common(3)


def test_events_are_found_in_all_their_forms() -> None:
    assert {"settings", "forwarding", "own-lease-refused", "agent-crashed"} <= told().keys()
    assert {"etcd", "etcd-connected", "api-server", "api-server-connected"} <= told().keys()


def test_events_have_names_of_one_form() -> None:
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", event) for event in told())
