# SPDX-License-Identifier: Apache-2.0
"""Command line flags and their environment variables, by Go's rules.

One table gives every flag its name, default, form and help; the name gives the environment
variable.  Syntax is Go's flag package's, because the command lines in flannel's manifests are:
`-x` and `--x` are equal, `--x=v` and `--x v` too, and a switch takes its value after `=` only.

One thing is not Go's: there the first word that is no flag ends the parsing, and flannel starts
without whatever stands behind it.  Here it is an error, as an unknown flag is.  Which flags there
are is `flannelflags`' and `runflags`'.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from msgspec import Struct

from fwd.model import FwdError

MOST = 2**31 - 1
"""Of a number that is bounded by nothing else."""

_DECIMAL = re.compile(r"[+-]?(0|[1-9](_?[0-9])*)", re.ASCII)
_PREFIXED = re.compile(r"[+-]?0(x(_?[0-9a-f])+|b(_?[01])+|o(_?[0-7])+)", re.ASCII | re.IGNORECASE)
_OCTAL = re.compile(r"[+-]?0(_?[0-7])+", re.ASCII)


class UsageError(FwdError):
    """The command line itself is wrong."""


class HelpAsked(Exception):  # noqa: N818 - not an error
    """-h or --help was given."""


class VersionAsked(Exception):  # noqa: N818 - not an error
    """--version was given."""


class Flag(Struct, frozen=True):
    """One option.  `parse` raises ValueError with what it wants instead."""

    name: str
    help: str
    parse: Callable[[str], Any] = str
    default: Any = None
    metavar: str = "X"
    env: str | None = None
    """Overrides the usual FLANNELD_A_B_C for --a-b-c; empty: there is none."""
    repeat: bool = False
    """May be given several times; the value is a tuple."""

    @property
    def key(self) -> str:
        """The name as a field of a settings Struct."""
        return self.name.replace("-", "_")

    @property
    def variable(self) -> str:
        """The environment variable that stands in for the flag."""
        return "FLANNELD_" + self.key.upper() if self.env is None else self.env

    @property
    def is_switch(self) -> bool:
        """Whether the flag alone, without a value, means true."""
        return self.parse is boolean


def boolean(text: str) -> bool:
    """Go's strconv.ParseBool."""
    if text in {"1", "t", "T", "true", "TRUE", "True"}:
        return True
    if text in {"0", "f", "F", "false", "FALSE", "False"}:
        return False
    raise ValueError("must be true or false")


def one_of(*names: str) -> Callable[[str], str]:
    """A parser that takes these words only."""

    def parse(text: str) -> str:
        if text not in names:
            raise ValueError(f"must be one of {', '.join(names)}")
        return text

    return parse


def number(low: int, high: int) -> Callable[[str], int]:
    """A parser of integers within bounds, in all the forms of Go's strconv.ParseInt."""

    def parse(text: str) -> int:
        if _DECIMAL.fullmatch(text) or _PREFIXED.fullmatch(text):
            value = int(text, 0)
        elif _OCTAL.fullmatch(text):
            value = int(text, 8)
        else:
            raise ValueError(f"must be a number from {low} to {high}")
        if not low <= value <= high:
            raise ValueError(f"must be a number from {low} to {high}")
        return value

    return parse


def some_path(text: str) -> Path:
    """A path that must be there: empty would be the working directory."""
    if not text:
        raise ValueError("must be a path")
    return Path(text)


def optional_path(text: str) -> Path | None:
    """Empty is none, as with flannel's text flags."""
    return Path(text) if text else None


def comma_list(text: str) -> tuple[str, ...]:
    """Split without trimming, as flannel does."""
    return tuple(text.split(",")) if text else ()


def parse_flags(
    argv: Sequence[str], flags: Iterable[Flag], environ: Mapping[str, str]
) -> tuple[dict[str, Any], list[str]]:
    """Values by field name (command line before environment before default), and notes.

    A wrong word on the command line raises UsageError; a wrong one in the environment is noted and
    the default stays, as flannel has it.
    """
    table = {flag.name: flag for flag in flags}
    given: dict[str, list[Any]] = {}
    words = list(argv)
    while words:
        flag, text = _next_flag(words, table)
        try:
            given.setdefault(flag.key, []).append(flag.parse(text))
        except ValueError as error:
            raise UsageError(f"--{flag.name} {text}: {error}") from error
    notes = []
    for flag in table.values():
        text = environ.get(flag.variable, "")
        if flag.key in given or not text:
            continue
        try:
            given[flag.key] = [flag.parse(text)]
        except ValueError as error:
            notes.append(f"{flag.variable}={text}: {error}")
    values = {
        flag.key: (tuple(found) if flag.repeat else found[-1])
        if (found := given.get(flag.key))
        else (() if flag.repeat else flag.default)
        for flag in table.values()
    }
    return values, notes


def _next_flag(words: list[str], table: Mapping[str, Flag]) -> tuple[Flag, str]:
    """Takes one flag and its value off the front of words."""
    word = words.pop(0)
    name, equals, text = word.removeprefix("-").removeprefix("-").partition("=")
    if not word.startswith("-") or not name:
        hint = ": a switch takes its value as --x=false" if _is_boolean(word) else ""
        raise UsageError(f"{word!r} is not a flag{hint}")
    if name in {"h", "help"}:
        raise HelpAsked
    flag = table.get(name)
    if flag is None:
        near = get_close_matches(name, table, n=1)
        hint = f", the nearest is --{near[0]}" if near else ""
        raise UsageError(f"there is no flag {word.partition('=')[0]}{hint}")
    if equals:
        return flag, text
    if flag.is_switch:
        return flag, "true"
    if not words:
        raise UsageError(f"--{name} needs a value")
    return flag, words.pop(0)


def _is_boolean(word: str) -> bool:
    try:
        boolean(word)
    except ValueError:
        return False
    return True


def describe_flags(flags: Iterable[Flag]) -> str:
    """The table for people, one flag a paragraph."""
    parts = []
    for flag in flags:
        value = "" if flag.is_switch else f" {flag.metavar}"
        default = f" (default {_shown(flag.default)})" if flag.default not in _NOTHING else ""
        variable = f" [{flag.variable}]" if flag.variable else ""
        parts.append(f"  --{flag.name}{value}\n        {flag.help}{default}{variable}\n")
    return "".join(parts)


_NOTHING = (None, False, "", ())


def _shown(default: object) -> str:
    if isinstance(default, tuple):
        return ",".join(default)
    return str(default).lower() if isinstance(default, bool) else str(default)
