# SPDX-License-Identifier: Apache-2.0
"""The command line of ``fwd bench``."""

import argparse
import importlib.util
from argparse import ArgumentParser
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final, TypeVar

from msgspec import Struct, structs

from fwd.bench import links, scenarios, traffic
from fwd.bench.contenders import KNOWN, Contender
from fwd.bench.scenarios import Timing
from fwd.lab.topology import FAMILIES, Wiring

MAX_PREFIX: Final = 10  # letters: a contender's own and the node's names come after it
_WORKERS: Final = (1, 2, 4)
# Of `fwd run --disable-offload`.
_OFFLOADS: Final = ("vnet-hdr", "tso", "uso", "multi-queue", "udp-segment", "udp-gro")

T = TypeVar("T")


class Options(Struct, frozen=True):
    """What was asked for."""

    contenders: tuple[Contender, ...]
    scenarios: tuple[str, ...]
    udp_sizes: tuple[int, ...]
    underlays: tuple[str, ...]
    rounds: int
    timing: Timing
    repeats: int
    time_limit: float
    mtu: int
    families: tuple[int, ...]
    wiring: Wiring
    prefix: str
    json: bool = False
    output: str | None = None
    html: str | None = None


_FULL: Final = {
    "contenders": ("fwd", "kernel", "routed", "mixed", "proxy"),
    "scenarios": (
        *("tcp1", "tcp1-back", "tcp4", "tcp4-back"),
        *("udp", "rr-udp", "rr-tcp", "connect", "flood"),
    ),
    "rounds": 3,
    "timing": Timing(tcp=1, udp=0.3, round_trips=0.5, search_steps=5),
    "repeats": 2,
    "time_limit": 420.0,
}
_QUICK: Final = {
    "contenders": ("fwd", "kernel", "routed"),
    "scenarios": ("tcp1", "tcp4", "udp", "rr-udp"),
    "rounds": 2,
    "timing": Timing(tcp=1, udp=0.2, round_trips=0.3, search_steps=4),
    "repeats": 1,
    "time_limit": 75.0,
}


def parse(argv: Sequence[str]) -> Options:
    """Read the words after ``fwd bench``; argparse says what is wrong and raises ``SystemExit``."""
    parser = _parser()
    given = parser.parse_args(argv)
    preset: dict[str, Any] = dict(_QUICK if given.quick else _FULL)
    for name in ("scenarios", "rounds", "repeats", "time_limit"):
        if getattr(given, name) is not None:
            preset[name] = getattr(given, name)
    names = given.contenders or preset["contenders"]
    preset["contenders"] = (*_contenders(names, given.run_arg), *_variants(given))
    if given.seconds is not None:
        preset["timing"] = structs.replace(preset["timing"], tcp=given.seconds)
    return Options(
        udp_sizes=given.udp_sizes,
        underlays=given.underlay,
        mtu=given.mtu,
        families=FAMILIES[given.family],
        wiring=Wiring(given.wiring),
        prefix=given.prefix,
        json=given.json,
        output=given.output,
        html=given.html,
        **preset,
    )


def _contenders(names: Sequence[str], run_args: Sequence[str]) -> list[Contender]:
    """Those known by name; ``run_args`` go to each that runs fwd."""
    known = [KNOWN[name] for name in names]
    return [structs.replace(one, run_args=(*one.run_args, *run_args)) for one in known]


def _variants(given: argparse.Namespace) -> list[Contender]:
    arguments = list(given.variant)
    if given.sweep == "workers":
        arguments += [f"--workers={count}" for count in _WORKERS]
    elif given.sweep == "offloads":
        arguments += [f"--disable-offload={name}" for name in _OFFLOADS]
    return [
        structs.replace(
            KNOWN["fwd"],
            name=f"fwd {argument}",
            letter=f"v{number}",
            run_args=(*given.run_arg, argument),
        )
        for number, argument in enumerate(dict.fromkeys(arguments), start=1)
    ]


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="fwd bench",
        description="fwd side by side with the kernel's vxlan device and plain routing, Pod to "
        "Pod, on this machine.  Needs root.  About 5 minutes, with --quick one.",
        allow_abbrev=False,
    )
    _what(parser)
    _traffic(parser)
    _agents(parser)
    _bounds(parser)
    _results(parser)
    return parser


def _what(parser: ArgumentParser) -> None:
    """Who is compared, by which measures, how often."""
    _option(parser, "quick", action="store_true", help="fewer contenders, measures and rounds")
    _number(parser, "rounds", help="figures are medians of so many (default 3, quick 2)")
    _option(
        parser,
        "contenders",
        metavar="LIST",
        type=_names(KNOWN),
        help=f"of {','.join(KNOWN)}; mixed has fwd on one node, the kernel on the other",
    )
    _option(
        parser,
        "scenarios",
        metavar="LIST",
        type=_names(scenarios.NAMES),
        help=f"of {','.join(scenarios.NAMES)}",
    )


def _traffic(parser: ArgumentParser) -> None:
    """What is sent, and over what: links, addresses, the wiring of Pods."""
    _option(
        parser,
        "underlay",
        metavar="LIST",
        type=_names(links.STATES),
        default=("on", "off"),
        help=f"segmentation offload of the underlay links, of {','.join(links.STATES)} (default"
        " on,off; TCP only unless on); uso: UDP alone",
    )
    _option(
        parser,
        "udp-sizes",
        metavar="LIST",
        type=_sizes,
        default=(64, 1300),
        help="bytes of payload (default 64,1300)",
    )
    _number(parser, "seconds", help="of each TCP stream (default 1)")
    _number(parser, "mtu", default=1500, help="of the underlay (default 1500)")
    _option(
        parser,
        "family",
        choices=["4", "6"],
        default="4",
        help="IP version of Pods and underlay (default 4)",
    )
    _option(
        parser,
        "wiring",
        choices=[wiring.value for wiring in Wiring],
        default=Wiring.VETH.value,
        help="of Pods: plain veths, or CNI plugins on nodes that masquerade, as with flannel's"
        " manifests (default veth)",
    )


def _agents(parser: ArgumentParser) -> None:
    """How fwd is run, and with which variants of it."""
    arguments = {"metavar": "ARG", "action": "append", "default": []}
    _option(parser, "run-arg", help="passed on to each fwd run; may be repeated", **arguments)
    _option(
        parser,
        "variant",
        help="one more contender: fwd with this argument, such as --variant=--workers=1",
        **arguments,
    )
    _option(
        parser,
        "sweep",
        choices=("workers", "offloads"),
        help="variants with 1, 2 and 4 workers, or with each offload off",
    )


def _bounds(parser: ArgumentParser) -> None:
    """What keeps it short, and apart from whatever else runs here."""
    _option(
        parser,
        "repeats",
        metavar="N",
        type=_from(int, 0),
        help="of a measurement that was disturbed, and waits for other load to end (default 2,"
        " quick 1)",
    )
    _option(
        parser,
        "time-limit",
        metavar="S",
        type=_from(float, 1),
        help="no scenario is begun after it, and the result says so (default 420, quick 75)",
    )
    _option(
        parser,
        "prefix",
        metavar="NAME",
        type=_prefix,
        default="fwdbench",
        help="of the labs' names; benches of different names do not meet",
    )


def _results(parser: ArgumentParser) -> None:
    """Where the figures go."""
    _option(parser, "json", action="store_true", help="print JSON, with every single sample")
    _option(parser, "output", metavar="FILE", help="write the JSON there as well")
    _option(
        parser,
        "html",
        metavar="FILE",
        type=_page,
        help="write a page with plots there as well (needs matplotlib, the extra [bench])",
    )


def _option(parser: ArgumentParser, name: str, **settings: Any) -> None:  # noqa: ANN401
    """An option with two dashes and, as every option of fwd, also with one (Go's style)."""
    parser.add_argument(f"--{name}", f"-{name}", **settings)


def _number(parser: ArgumentParser, name: str, **settings: Any) -> None:  # noqa: ANN401
    """A whole one, of at least one."""
    _option(parser, name, metavar="N", type=_from(int, 1), **settings)


def _names(known: Collection[str]) -> Callable[[str], tuple[str, ...]]:
    def read(text: str) -> tuple[str, ...]:
        names = tuple(dict.fromkeys(text.split(",")))
        unknown = [name for name in names if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(known)}")
        return names

    return read


def _from(kind: Callable[[str], T], least: Any) -> Callable[[str], T]:  # noqa: ANN401
    def read(text: str) -> T:
        try:
            number = kind(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text!r} is no number") from error
        if not number >= least:
            raise argparse.ArgumentTypeError(f"must be {least} or more")
        return number

    return read


def _page(text: str) -> str:
    """Said before minutes of measuring, not after."""
    if importlib.util.find_spec("matplotlib") is None:
        raise argparse.ArgumentTypeError(
            "needs matplotlib: pip install '.[bench]' in fwd's source directory"
        )
    return text


def _sizes(text: str) -> tuple[int, ...]:
    sizes = tuple(dict.fromkeys(map(_from(int, traffic.MIN_SIZE), text.split(","))))
    if max(sizes) > traffic.MAX_SIZE:
        raise argparse.ArgumentTypeError(f"must be {traffic.MAX_SIZE} or less")
    return sizes


def _prefix(text: str) -> str:
    if not text.isascii() or not text.isalnum() or not text.islower() or len(text) > MAX_PREFIX:
        raise argparse.ArgumentTypeError(f"must be 1 to {MAX_PREFIX} lower-case letters and digits")
    return text
