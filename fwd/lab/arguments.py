# SPDX-License-Identifier: Apache-2.0
"""The command line of ``fwd lab``."""

import argparse
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from typing import Any

from fwd.lab import state
from fwd.lab.topology import FAMILIES, Source, Wiring


def parse(argv: Sequence[str]) -> Namespace:
    """Read the words after ``fwd lab``; argparse says what is wrong and raises ``SystemExit``."""
    parser = _parser(
        "fwd lab", "A cluster network on this machine: nodes and Pods as network namespaces."
    )
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="COMMAND", parser_class=ArgumentParser
    )

    up = _command(commands, "up", "build a lab; again: start again what has ended")
    _shape(up)

    join = _command(commands, "join", "a node joins the lab that is up")
    join.add_argument("node", metavar="NODE", nargs="?", help="such as n7 (default: a free one)")
    _option(join, "kernel", action="store_true", help="with the kernel's vxlan device")

    leave = _command(commands, "leave", "a node is deleted from the lab that is up")
    leave.add_argument("node", metavar="NODE", help="such as n4")

    test = _command(commands, "test", "ping, TCP and UDP between all Pods and nodes")
    _measuring(test)

    status = _command(commands, "status", "nodes, links, agents and what the agents say")
    _option(status, "json", action="store_true", help="print JSON")

    run = _command(commands, "exec", "run a command in a node, a Pod or the switch")
    run.add_argument("where", metavar="NODE|POD", help="such as n1, n1-p1, or switch")
    run.add_argument("words", metavar="CMD", nargs=argparse.REMAINDER, help="and its arguments")

    _command(commands, "down", "remove the lab, whatever is left of it")

    demo = _command(
        commands, "demo", "build a lab, test it, let a node join and leave, remove it all"
    )
    _shape(demo)
    _measuring(demo)
    return parser.parse_args(argv)


def _parser(name: str, text: str) -> ArgumentParser:
    return ArgumentParser(prog=name, description=text, allow_abbrev=False)


# argparse keeps the type of `commands` to itself, and hands keyword arguments on untyped.
def _command(commands: Any, name: str, text: str) -> ArgumentParser:  # noqa: ANN401
    parser: ArgumentParser = commands.add_parser(
        name, help=text, description=text, allow_abbrev=False
    )
    _option(parser, "prefix", metavar="NAME", help="lab of this name; labs do not meet")
    usual = state.default(state.DEMO_PREFIX if name == "demo" else state.DEFAULT_PREFIX).root
    named = state.default("NAME").root
    _option(
        parser,
        "state-dir",
        metavar="DIR",
        help=f"the lab's files (default {usual}; with --prefix NAME, {named})",
    )
    return parser


def _shape(parser: ArgumentParser) -> None:
    number = {"metavar": "N", "type": _from(0)}
    _option(parser, "nodes", default=2, help="nodes that run fwd (default 2)", **number)
    _option(
        parser,
        "kernel-nodes",
        help="nodes with the kernel's vxlan device, as flannel has it (default 1; of a demo where"
        " the kernel has no such device, 0)",
        **number,
    )
    _option(parser, "pods", default=1, help="Pods on each node (default 1)", **number)
    _option(parser, "mtu", default=1500, help="underlay MTU (default 1500)", **number)
    _option(
        parser,
        "family",
        choices=list(FAMILIES),
        default="4",
        help="of addresses: IPv4, IPv6, or dual for both (default 4)",
    )
    _option(
        parser,
        "source",
        choices=[source.value for source in Source],
        default=Source.KUBE.value,
        help="of leases: an API server's stand-in, an etcd, or a file (default kube)",
    )
    _option(
        parser,
        "wiring",
        choices=[wiring.value for wiring in Wiring],
        default=Wiring.CNI.value,
        help="of Pods: CNI plugins by each node's conflist, or plain veths (default cni)",
    )
    _option(
        parser,
        "run-arg",
        metavar="ARG",
        action="append",
        default=[],
        help="passed on to each fwd run, such as --run-arg=--workers=1; may be repeated",
    )


def _measuring(parser: ArgumentParser) -> None:
    _option(
        parser,
        "seconds",
        metavar="S",
        type=_from(1),
        default=1,
        help="length of each TCP stream (default 1)",
    )
    _option(
        parser,
        "time-limit",
        metavar="S",
        type=_from(1),
        default=None,
        help="for all pairs; what is not measured by then has failed (default: by their number"
        " and --seconds)",
    )
    _option(parser, "json", action="store_true", help="print JSON")


def _option(parser: ArgumentParser, name: str, **settings: Any) -> None:  # noqa: ANN401
    """An option with two dashes and, as every option of fwd, also with one (Go's style)."""
    parser.add_argument(f"--{name}", **settings)
    parser.add_argument(f"-{name}", **(settings | {"help": argparse.SUPPRESS}))


def _from(least: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number") from error
        if number < least:
            raise argparse.ArgumentTypeError(f"must be {least} or more")
        return number

    return read
