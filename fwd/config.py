# SPDX-License-Identifier: Apache-2.0
"""Flags and environment into settings; net-conf.json from its file.

One table gives every flag its name, default, form and help; the name gives the environment
variable.  Syntax is Go's flag package's, because the command lines in flannel's manifests are:
`-x` and `--x` are equal, `--x=v` and `--x v` too.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct, field

from fwd.core.netconf import NetConf, parse_netconf
from fwd.core.text import parse_address
from fwd.model import Address, ConfigError, FwdError

OFFLOADS = ("vnet-hdr", "tso", "uso", "multi-queue", "udp-segment", "udp-gro")
SOURCE_CHECKS = ("strict", "loose", "off")
MAX_WORKERS = 64
DEFAULT_RUN_DIR = Path("/run/flannel")


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


class RunConfig(Struct, frozen=True, kw_only=True):
    """Settings of `fwd run`."""

    static_leases: Path
    node_name: str
    iface: tuple[str, ...] = ()
    public_ip: Address | None = None
    net_config_path: Path
    subnet_file: Path
    run_dir: Path
    workers: int
    source_check: str
    disable_offload: frozenset[str] = frozenset()
    notes: tuple[str, ...] = field(default=())
    """What was wrong in the environment and is not in force."""


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


def offload_names(text: str) -> frozenset[str]:
    """A comma list of offloads."""
    names = frozenset(text.split(","))
    if not names <= set(OFFLOADS):
        raise ValueError(f"must be a comma list of {', '.join(OFFLOADS)}")
    return names


RUN_DIR = Flag(
    name="run-dir",
    parse=Path,
    default=DEFAULT_RUN_DIR,
    metavar="DIR",
    help="where the status socket, the lock and the node's MAC are kept",
)

RUN_FLAGS = (
    Flag(
        name="static-leases",
        parse=Path,
        metavar="FILE",
        help="leases as JSON, read again when it changes",
    ),
    Flag(name="node-name", env="NODE_NAME", metavar="NAME", help="this node's name in the leases"),
    Flag(
        name="iface",
        metavar="IF",
        repeat=True,
        help="underlay interface by name or address; the first that exists is taken",
    ),
    Flag(
        name="public-ip",
        parse=parse_address,
        metavar="IP",
        help="underlay address of this node; without --iface it selects the interface",
    ),
    Flag(
        name="net-config-path",
        parse=Path,
        default=Path("/etc/kube-flannel/net-conf.json"),
        metavar="FILE",
        help="flannel's net-conf.json",
    ),
    Flag(
        name="subnet-file",
        parse=Path,
        default=Path("/run/flannel/subnet.env"),
        metavar="FILE",
        help="written for the CNI plugin",
    ),
    RUN_DIR,
    Flag(
        name="workers",
        parse=number(1, MAX_WORKERS),
        default=min(4, os.cpu_count() or 1),
        metavar="N",
        help="hot-loop threads",
    ),
    Flag(
        name="source-check",
        parse=one_of(*SOURCE_CHECKS),
        default="strict",
        metavar="MODE",
        help="which inner sources a peer may use: strict (its own), loose (any), off (any sender)",
    ),
    Flag(
        name="disable-offload",
        parse=offload_names,
        metavar="LIST",
        repeat=True,
        help=f"do without some of {', '.join(OFFLOADS)}",
    ),
)

STATUS_FLAGS = (
    RUN_DIR,
    Flag(name="json", parse=boolean, default=False, help="the whole document, for machines"),
)


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
        default = f" (default {flag.default})" if flag.default not in (None, False) else ""
        parts.append(f"  --{flag.name}{value}\n        {flag.help}{default} [{flag.variable}]\n")
    return "".join(parts)


def run_config(argv: Sequence[str], environ: Mapping[str, str]) -> RunConfig:
    """Settings of `fwd run` from its arguments."""
    values, notes = parse_flags(argv, RUN_FLAGS, environ)
    if values["static_leases"] is None:
        raise ConfigError("no source of leases: give --static-leases FILE")
    if not values["node_name"]:
        raise ConfigError("this node has no name: set NODE_NAME or give --node-name")
    disabled = frozenset().union(*values.pop("disable_offload"))
    return RunConfig(**values, disable_offload=disabled, notes=tuple(notes))


def version() -> str:
    """This program's version, as it is installed."""
    # Late: it costs 2 MB of memory, and most processes are never asked.
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415

    try:
        return version("fwd")
    except PackageNotFoundError:
        return "0 (not installed)"


def load_netconf(path: Path) -> NetConf:
    """net-conf.json from its file.  Raises ConfigError in flannel's words."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"failed to read net conf: {path}: {error.strerror}") from error
    try:
        return parse_netconf(content)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
