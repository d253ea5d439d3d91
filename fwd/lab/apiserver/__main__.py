# SPDX-License-Identifier: Apache-2.0
"""``python -m fwd.lab.apiserver``: the stand-in as a process of its own, until SIGTERM or SIGINT.

Says one line on stdout once it serves; fails with one line on stderr and exit code 1.
"""

import argparse
import asyncio
import contextlib
import itertools
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from fwd.lab import clusternodes
from fwd.lab.apiserver import access
from fwd.lab.apiserver.answers import Object
from fwd.lab.apiserver.control import Control
from fwd.lab.apiserver.credentials import Certificate
from fwd.lab.apiserver.server import ApiServer
from fwd.lab.apiserver.watching import Timing
from fwd.lab.errors import LabError


def main(argv: list[str]) -> int:
    """Run it; returns the exit code."""
    arguments = _parse(argv)
    try:
        asyncio.run(_run(arguments))
    except (LabError, OSError) as error:
        print(f"fwd lab apiserver: {error}", file=sys.stderr)
        return 1
    return 0


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m fwd.lab.apiserver", allow_abbrev=False)
    add = parser.add_argument
    add("--listen", metavar="ADDR:PORT", type=_address, default=("127.0.0.1", 0))
    add("--control", metavar="PATH", type=Path, help="unix socket that takes commands")
    add("--tls", metavar=("CERT", "KEY"), nargs=2, type=Path, help="PEM files; without it: http")
    add(
        "--state",
        metavar="FILE",
        nargs="+",
        type=Path,
        default=[],
        help="JSON: Node, Pod, or a list of such",
    )
    add("--nodes", metavar="N", type=int, default=0, help="and so many made-up Nodes")
    add("--token", default=access.TOKEN, help="bearer token with flannel's rights")
    add("--bookmark-interval", metavar="S", type=float, default=60.0)
    add("--history", metavar="N", type=int, default=8192, help="changes that a watch can go back")
    return parser.parse_args(argv)


async def _run(arguments: argparse.Namespace) -> None:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    objects = [item for path in arguments.state for item in _read(path)]
    server = ApiServer(
        itertools.chain(_nodes(objects), clusternodes.nodes(arguments.nodes)),
        timing=Timing(bookmark_interval=arguments.bookmark_interval),
        token=arguments.token,
        history=arguments.history,
    )
    for pod in (item for item in objects if item.get("kind") == "Pod"):
        metadata = pod["metadata"]
        server.put_pod(
            metadata["namespace"], metadata["name"], node=pod.get("spec", {}).get("nodeName", "")
        )
    tls = Certificate(*arguments.tls).context() if arguments.tls else None
    async with contextlib.AsyncExitStack() as stack:
        await server.start(arguments.listen, tls=tls)
        stack.push_async_exit(server.__aexit__)
        if arguments.control:
            control = Control(server)
            stack.callback(control.end)
            arguments.control.unlink(missing_ok=True)  # of one that was killed
            stack.enter_context(contextlib.closing(await control.listen(arguments.control)))
            stack.callback(arguments.control.unlink, missing_ok=True)
        print(f"serving {len(server.nodes)} nodes at {server.url}", flush=True)
        await ended.wait()


def _nodes(objects: list[Object]) -> Iterator[Object]:
    return (item for item in objects if item.get("kind", "Node") == "Node")


def _read(path: Path) -> list[Object]:
    try:
        found: Any = msgspec.json.decode(path.read_bytes())
    except msgspec.DecodeError as error:
        raise LabError(f"{path}: {error}") from error
    items: list[Object] = found.get("items", [found])
    kind = str(found.get("kind", "")).removesuffix("List")  # items of a list do not name theirs
    return [{"kind": kind or "Node", **item} for item in items]


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
