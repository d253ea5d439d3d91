# SPDX-License-Identifier: Apache-2.0
"""Command line flags and their environment variables, by Go's rules.

One table gives every flag its name, default, form and help; the name gives the environment
variable.  Syntax is Go's flag package's, because the command lines in flannel's manifests are:
`-x` and `--x` are equal, `--x=v` and `--x v` too.  Which flags there are is `config`'s.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from fwd.model import FwdError


class UsageError(FwdError):
    """The command line itself is wrong."""


class HelpAsked(Exception):  # noqa: N818 - not an error
    """-h or --help was given."""


class Flag(Struct, frozen=True):
    """One option.  `parse` raises ValueError with what it wants instead."""

    name: str
    help: str
    parse: Callable[[str], Any] = str
    default: Any = None
    metavar: str = "X"
    env: str | None = None
    """Overrides the usual FLANNELD_A_B_C for --a-b-c."""
    repeat: bool = False
    """May be given several times; the value is a tuple."""

    @property
    def key(self) -> str:
        """The name as a field of a settings Struct."""
        return self.name.replace("-", "_")

    @property
    def variable(self) -> str:
        """The environment variable that stands in for the flag."""
        return self.env or "FLANNELD_" + self.key.upper()

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
    """A parser of decimal integers within bounds."""

    def parse(text: str) -> int:
        if text.isascii() and text.isdecimal() and low <= int(text) <= high:
            return int(text)
        raise ValueError(f"must be a number from {low} to {high}")

    return parse


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
        raise UsageError(f"{word!r} is not a flag")
    if name in {"h", "help"}:
        raise HelpAsked
    flag = table.get(name)
    if flag is None:
        raise UsageError(f"there is no flag {word.partition('=')[0]}")
    if equals:
        return flag, text
    if flag.is_switch:
        return flag, "true"
    if not words:
        raise UsageError(f"--{name} needs a value")
    return flag, words.pop(0)


def describe_flags(flags: Iterable[Flag]) -> str:
    """The table for people, one flag a paragraph."""
    parts = []
    for flag in flags:
        value = "" if flag.is_switch else f" {flag.metavar}"
        shown = str(flag.default).lower() if flag.is_switch else flag.default
        default = f" (default {shown})" if flag.default not in (None, False, "") else ""
        parts.append(f"  --{flag.name}{value}\n        {flag.help}{default} [{flag.variable}]\n")
    return "".join(parts)
