# SPDX-License-Identifier: Apache-2.0
"""`fwd drops`: what was dropped, why, and from or for whom."""

import sys
from collections.abc import Iterable
from contextlib import suppress

import msgspec

from fwd.core.unreadable import UNREADABLE
from fwd.model import FwdError
from fwd.ops.commands.arguments import Parser
from fwd.ops.control import GONE, Connection, DropsRequest
from fwd.ops.drops import DropLine
from fwd.ops.printable import printable
from fwd.ops.report import drop_reasons

_HEAD_BYTES = 32
_NONE = "no such drop is remembered: fwd status counts them all"


def main(argv: list[str]) -> int:
    """Prints the last ones, and with --follow those to come, until Ctrl-C.

    Raises FwdError where it is the agent that ends.
    """
    parser = Parser(
        "fwd drops",
        "The last packets that were dropped: some of each reason (fwd status counts them all).",
    )
    parser.add_run_dir()
    parser.add_argument("-f", "--follow", action="store_true", help="and those to come")
    parser.add_argument("--json", action="store_true", help="a JSON document a line")
    parser.add_argument("--reason", action="append", metavar="NAME", help="only this; repeatable")
    given = parser.parse_args(argv)
    known = {info.name for info in drop_reasons()}
    for reason in given.reason or ():
        if reason not in known:
            parser.error(f"there is no reason {reason!r}; fwd status names those that were met")
    with Connection(given.run_dir, DropsRequest(follow=given.follow)) as connection:
        if given.follow:
            connection.endless()
        with suppress(KeyboardInterrupt, BrokenPipeError):
            shown = _show(connection.lines(), reasons=given.reason, json=given.json)
            if given.follow:
                raise FwdError(GONE)
            if not shown and not given.json:
                print(_NONE, file=sys.stderr)
    return 0


def _show(lines: Iterable[bytes], *, reasons: list[str] | None, json: bool) -> int:
    shown = 0
    for line in lines:
        try:
            drop = msgspec.json.decode(line, type=DropLine)
        except UNREADABLE as error:
            raise FwdError(f"the agent's answer is not of this version: {error}") from error
        if reasons is None or drop.reason in reasons:
            shown += 1
            print(line.decode() if json else describe(drop), flush=True)
    return shown


def describe(drop: DropLine) -> str:
    """A dropped packet for people, in three lines."""
    who = " ".join(part for part in (drop.node, f"({drop.outer})" if drop.outer else "") if part)
    peer = f" {'from' if drop.direction == 'in' else 'for'} {who}" if who else ""
    many = f", {drop.packets} packets in one" if drop.packets > 1 else ""
    head = bytes.fromhex(drop.head)[:_HEAD_BYTES].hex(" ", 4)
    lines = (
        f"{drop.time} {drop.device} {drop.direction} {drop.reason}{peer}: {drop.text}",
        f"    {_flow(drop)}, length {drop.length}{many}",
        f"    {head or 'nothing of it was read'}",
    )
    return "\n".join(map(printable, lines))


def _flow(drop: DropLine) -> str:
    if not drop.src:
        return "no IP header that can be read"
    ports = [f" port {port}" if port is not None else "" for port in (drop.sport, drop.dport)]
    return f"{drop.src}{ports[0]} > {drop.dst}{ports[1]} {drop.protocol}"
