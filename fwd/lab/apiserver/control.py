# SPDX-License-Identifier: Apache-2.0
"""The stand-in's end of its control socket: what each command means to the server.

One line of JSON each way on a connection of its own: a command, and what came of it.
"""

import asyncio
import contextlib
import inspect
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from fwd.lab import clusternodes
from fwd.lab.apiserver import commands as cmd
from fwd.lab.apiserver.answers import Refusal
from fwd.lab.apiserver.commands import Command, Outcome
from fwd.lab.apiserver.patching import existing
from fwd.lab.apiserver.server import ApiServer
from fwd.lab.apiserver.store import Saved
from fwd.lab.errors import LabError

_LIMIT: Final = 1 << 28  # bytes of a command: thousands of Nodes may come at once


class Control:
    """Obeys commands for one server."""

    def __init__(self, server: ApiServer) -> None:
        self._server = server
        self._saved: dict[str, Saved] = {}
        self._churn: asyncio.Task[None] | None = None
        self._actions = self._table()

    async def listen(self, path: Path) -> asyncio.Server:
        """Listen on a unix socket, for root only; the caller closes what is returned."""
        with _private():
            return await asyncio.start_unix_server(self._serve, path, limit=_LIMIT)

    def end(self) -> None:
        """End what commands have set going."""
        if self._churn is not None:
            self._churn.cancel()
            self._churn = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.LimitOverrunError):
            line = await reader.readline()
            writer.write(msgspec.json.encode(await self._outcome(line)) + b"\n")
            await writer.drain()
        writer.close()

    async def _outcome(self, line: bytes) -> Outcome:
        try:
            command = msgspec.json.decode(line, type=Command)
            return Outcome(answer=await self.obey(command))
        except (msgspec.DecodeError, LabError, OSError, Refusal) as error:
            return Outcome(error=str(error) or type(error).__name__)
        except KeyError as error:
            return Outcome(error=f"there is no {error}")

    async def obey(self, command: Command) -> object:
        """Do it; returns the answer."""
        answer = self._actions[type(command)](command)
        return await answer if inspect.isawaitable(answer) else answer

    def _table(self) -> dict[type, Callable[[Any], object]]:
        """What each command means; what has no answer answers None."""
        server, nodes, rights = self._server, self._server.nodes, self._server.access
        return {
            cmd.PutNodes: self._put_nodes,
            cmd.PatchNode: lambda it: server.patch_node(it.name, it.patch),
            cmd.DeleteNode: lambda it: server.delete_node(it.name),
            cmd.GetNode: lambda it: existing(nodes, it.name).decode(),
            cmd.PutPod: lambda it: server.put_pod(it.namespace, it.name, node=it.node),
            cmd.Churn: self._set_churn,
            cmd.AddFault: lambda it: server.faults.add(it.fault),
            cmd.ClearFaults: lambda _: server.faults.clear(),
            cmd.CutAll: lambda it: server.cut(it.how),
            cmd.BreakWatches: lambda _: server.break_watches(),
            cmd.Freeze: lambda _: server.freeze(),
            cmd.Thaw: lambda _: server.thaw(),
            cmd.Rotate: lambda it: rights.rotate(it.token),
            cmd.Revoke: lambda it: rights.revoke(it.verb, it.resource),
            cmd.Grant: lambda it: rights.grant(it.verb, it.resource),
            cmd.Compact: lambda _: nodes.compact(),
            cmd.Save: lambda it: self._saved.update({it.name: nodes.save()}),
            cmd.Restore: lambda it: server.restore(self._saved[it.name]),
            cmd.StopServing: lambda it: server.stop(it.how, lose=it.lose),
            cmd.StartServing: lambda _: server.start(),
            cmd.Requests: lambda it: list(server.requests)[it.since :],
            cmd.Status: lambda _: self._status(),
        }

    def _put_nodes(self, command: cmd.PutNodes) -> None:
        for node in command.nodes:
            self._server.put_node(node)

    def _set_churn(self, command: cmd.Churn) -> None:
        self.end()
        if command.rate > 0:
            self._churn = asyncio.create_task(churn(self._server, command.rate))

    def _status(self) -> dict[str, object]:
        server = self._server
        return {
            "url": server.url,
            "serving": server.serving,
            "nodes": len(server.nodes),
            "revision": server.nodes.revision,
            "watches": server.watches,
            "requests": len(server.requests),
            "verbs": sorted(" ".join(verb) for verb in server.verbs()),
        }


@contextlib.contextmanager
def _private() -> Iterator[None]:
    before = os.umask(0o177)
    try:
        yield
    finally:
        os.umask(before)


async def churn(server: ApiServer, rate: float) -> None:
    """Make updates that mean nothing to the network, ``rate`` a second, until cancelled."""
    changes = clusternodes.updates(server.nodes.names())
    clock = asyncio.get_running_loop().time
    begin, done = clock(), 0
    while True:
        # By the clock and not by sleeping a fixed time: what is late is caught up with.
        for _ in range(int((clock() - begin) * rate) - done):
            name, patch = next(changes)
            done += 1
            if server.nodes.get(name) is not None:
                server.patch_node(name, patch)
        await asyncio.sleep(min(1.0, 1.0 / rate))
