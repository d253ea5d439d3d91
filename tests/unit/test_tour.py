# SPDX-License-Identifier: Apache-2.0
"""docs/tour.md against the code: a guide that names what is not there is worse than none.

A step of the tour is a numbered line that begins with `path:symbol`; a way is the steps below one
second-level heading.  Whether the words beside a step are true no test can tell.
"""

import ast
import re
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOUR = ROOT / "docs/tour.md"

WAYS = ("A packet out", "A packet in", "A lease", "A lease from etcd")

_STEP = re.compile(r"^\d+\. +`(?P<path>[\w./]+):(?P<symbol>[\w.]+)`", re.MULTILINE)


class Step(NamedTuple):
    path: str
    symbol: str


def ways() -> dict[str, list[Step]]:
    """The steps below each second-level heading that has any."""
    sections = re.split(r"^## +(.+)$", TOUR.read_text(), flags=re.MULTILINE)[1:]
    pairs = zip(sections[::2], sections[1::2], strict=True)
    found = {
        title.strip(): [Step(*match.groups()) for match in _STEP.finditer(body)]
        for title, body in pairs
    }
    return {title: steps for title, steps in found.items() if steps}


def python_symbols(source: str) -> set[str]:
    """Names that a module defines, and `Class.name` for what its classes define."""
    names: set[str] = set()

    def visit(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            match node:
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                    names.add(prefix + name)
                case ast.ClassDef(name=name):
                    names.add(prefix + name)
                    visit(node.body, f"{prefix}{name}.")
                case ast.Assign(targets=[ast.Name(id=name)]):
                    names.add(prefix + name)
                case ast.AnnAssign(target=ast.Name(id=name)):
                    names.add(prefix + name)

    visit(ast.parse(source).body, "")
    return names


def c_defines(source: str, symbol: str) -> bool:
    """Whether C text defines a function, type, macro, constant or table (not only declares it)."""
    forms = (
        rf"^(?:\w[^;{{}}#\n]*\b)?{symbol}\([^;{{}}]*\)\s*\{{",
        rf"^(?:struct|enum|union) {symbol}\s*\{{",
        rf"^\s*#\s*define {symbol}\b",
        rf"^\w+\([^)\n]*\b{symbol}\b",  # an entry of a .def list
        rf"^\w[^;(){{}}\n]*\b{symbol}\b(?:\[\w*\])* = ",
    )
    text = re.sub(r"/\*.*?\*/", "", source, flags=re.DOTALL)
    return any(re.search(form, text, re.MULTILINE) for form in forms)


def defines(step: Step) -> bool:
    path = ROOT / step.path
    if not path.is_file():
        return False
    if path.suffix == ".py":
        return step.symbol in python_symbols(path.read_text())
    return c_defines(path.read_text(), step.symbol)


def hot_path() -> set[str]:
    """Files that a reader of the tour must meet: all C, and the Python on a lease's way."""
    files = [
        *ROOT.glob("cext/*.c"),
        *ROOT.glob("fwd/core/*.py"),
        *ROOT.glob("fwd/sources/*.py"),
        *(ROOT / "fwd" / name for name in ("agent.py", "model.py", "plane/plane.py")),
        *(ROOT / "fwd/node" / name for name in ("forwarding.py", "forwarder.py", "tunnel.py")),
    ]
    return {str(path.relative_to(ROOT)) for path in files if path.name != "__init__.py"}


def test_tour_tells_these_ways() -> None:
    assert tuple(ways()) == WAYS


@pytest.mark.parametrize("way", WAYS)
def test_steps_exist(way: str) -> None:
    gone = [f"{step.path}:{step.symbol}" for step in ways()[way] if not defines(step)]
    assert not gone, ", ".join(gone)


@pytest.mark.parametrize("way", WAYS)
def test_way_only_goes_forward(way: str) -> None:
    visits = [path for path, _ in groupby(ways()[way], key=lambda step: step.path)]
    again = {path for path in visits if visits.count(path) > 1}
    assert not again, ", ".join(sorted(again))


def test_tour_meets_every_file_of_the_hot_path() -> None:
    text = TOUR.read_text()
    unseen = sorted(path for path in hot_path() if f"`{path}" not in text)
    assert not unseen, ", ".join(unseen)


@pytest.mark.parametrize(
    ("source", "symbol", "expected"),
    [
        ("int outbound(struct worker *w,\n\t     int n)\n{\n", "outbound", True),
        ("static inline uint32_t\nfold(uint32_t sum)\n{\n", "fold", True),
        ("int outbound(struct worker *w);\n", "outbound", False),
        ("void f(void)\n{\n\toutbound(w);\n}\n", "outbound", False),
        ("struct peer {\n", "peer", True),
        ("struct peer;\n", "peer", False),
        ("#define BATCH 64\n", "BATCH", True),
        ('DROP(OUT, OUT_NO_ROUTE, "out_no_route",\n', "OUT_NO_ROUTE", True),
        ("static const char *const names[] = {\n", "names", True),
        ("/* struct peer {\n*/\n", "peer", False),
    ],
)
def test_c_definitions_are_told_from_uses(source: str, symbol: str, *, expected: bool) -> None:
    assert c_defines(source, symbol) is expected
