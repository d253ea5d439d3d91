# SPDX-License-Identifier: Apache-2.0
"""A stand-in for the Kubernetes API server: Nodes over HTTP, and all that can befall such a server.

``handler`` has a request's way; this is the process around it, and what the rest of a cluster does.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Iterable
from typing import Final, Self

from fwd.lab.apiserver import access, answers, patching, wire
from fwd.lab.apiserver.access import Access
from fwd.lab.apiserver.answers import Object, Refusal
from fwd.lab.apiserver.faults import How, Stop
from fwd.lab.apiserver.handler import Handler
from fwd.lab.apiserver.store import Saved, Store
from fwd.lab.apiserver.watching import Timing
from fwd.lab.errors import LabError

_POLL: Final = 0.001  # seconds
_LINGER: Final = 5.0  # seconds that handlers have to notice that their connection is gone
_EPOCH: Final = "2006-01-02T15:04:05Z"  # of an object that comes without a time


class ApiServer:
    """The server; an async context manager that starts it on a free port of 127.0.0.1.

    Attributes:
        nodes: the Nodes; changes made here are seen by watches at once.
        access: tokens and rights, which may be changed.
        faults: what is to go wrong with single requests.
        requests: what was asked, oldest first.
        address: where it listens; kept over ``stop`` and ``start``.
    """

    def __init__(
        self,
        nodes: Iterable[Object] = (),
        *,
        timing: Timing | None = None,
        history: int = 8192,
        token: str = access.TOKEN,
    ) -> None:
        self.nodes = Store(history=history)
        self.access = Access({token: access.FLANNEL})
        self.address = ("127.0.0.1", 0)
        self._timing = timing or Timing()
        self._handler = Handler(self.nodes, access=self.access, timing=self._timing)
        self.faults = self._handler.faults
        self.requests = self._handler.requests
        self._tls: ssl.SSLContext | None = None
        self._server: wire.Server | None = None
        self._listening: asyncio.Server | None = None
        self._reserved: socket.socket | None = None
        self.nodes.load(map(_dated, nodes))

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.thaw()
        await self.stop()
        if self._reserved is not None:
            self._reserved.close()
            self._reserved = None

    # The server as a process.

    @property
    def serving(self) -> bool:
        """Whether it listens."""
        return self._listening is not None

    @property
    def url(self) -> str:
        """Where clients find it."""
        host, port = self.address
        scheme = "http" if self._tls is None else "https"
        return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"

    async def start(
        self, address: tuple[str, int] | None = None, *, tls: ssl.SSLContext | None = None
    ) -> None:
        """Listen; without an address where it listened before.

        Raises:
            LabError: it listens already.
            OSError: the address is taken or not ours.
        """
        if self._listening is not None:
            raise LabError("it serves already")
        self._tls = tls or self._tls
        if address is not None or self._reserved is None:
            self._reserve(address or self.address)
        host, port = self.address
        loop = asyncio.get_running_loop()
        self._server = wire.Server(self._handler.handle)
        self._listening = await loop.create_server(
            self._server, host, port, ssl=self._tls, backlog=1024
        )

    def _reserve(self, address: tuple[str, int]) -> None:
        """Keep the port while the server is away.

        Else whoever connects to anything on this machine may be given it as his own, even a client
        that knocks here: it then talks to itself, and the server cannot come back.
        """
        host = address[0]
        reserved = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        try:
            reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as asyncio's listener
            reserved.bind(address)
        except OSError:
            reserved.close()
            raise
        if self._reserved is not None:
            self._reserved.close()
        self._reserved = reserved
        self.address = (host, reserved.getsockname()[1])

    async def stop(self, how: Stop = Stop.KILL, *, lose: bool = False) -> None:
        """Stop listening and end all connections; objects stay unless they are to be lost.

        A watch that begins after the next ``start`` has to begin at what is then the newest.
        """
        if self._listening is None or self._server is None:
            return
        self._listening.close()
        self._listening = None
        if how is Stop.TERM:
            await self._end_watches()
        self._server.cut(How.RESET if how is Stop.KILL else How.FIN)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LINGER):
                while self._server.connections:  # noqa: ASYNC110 - bounded
                    await asyncio.sleep(_POLL)
        await self._server.shutdown(0)
        if lose:
            self.nodes.restore(Store().save())
        self.nodes.restart()

    def restore(self, saved: Saved) -> None:
        """Come back to a state of ``nodes.save``, as if etcd's backup was restored.

        A restart in no time: connections are reset.  resourceVersions go back too, so that a client
        which goes on from the one that it knows hears nothing.
        """
        self.nodes.restore(saved)
        self.cut()

    def freeze(self) -> None:
        """Send nothing any more, on open and on new connections, and keep them all open."""
        if self._server is not None:
            self._server.freeze()

    def thaw(self) -> None:
        """Send what was held back, and go on."""
        if self._server is not None:
            self._server.thaw()

    # What other parts of the cluster do.

    def put_node(self, node: Object) -> None:
        """Add or replace a Node."""
        self.nodes.put(_dated(node))

    def patch_node(self, name: str, patch: Object) -> None:
        """Change a Node as its kubelet or the controller manager does: everything may change.

        Args:
            name: of the Node.
            patch: a strategic merge patch.
        """
        patching.change(self.nodes, name, patch)

    def delete_node(self, name: str) -> None:
        """Remove a Node, if it is there."""
        self.nodes.delete(name)

    def put_pod(self, namespace: str, name: str, *, node: str) -> None:
        """Add a Pod; without a node it is not yet scheduled."""
        self._handler.pods[namespace, name] = {
            "kind": "Pod",
            "apiVersion": "v1",
            "metadata": {"name": name, "namespace": namespace, "creationTimestamp": _EPOCH},
            "spec": {"nodeName": node} if node else {},
            "status": {"phase": "Running"},
        }

    # What befalls running watches.

    @property
    def watches(self) -> int:
        """How many watches are open."""
        return len(self._handler.watches)

    def break_watches(self, refusal: Refusal | None = None) -> None:
        """Send every open watch an ERROR event, 410 if not told otherwise, and end it."""
        self.inject((refusal or answers.expired(1, self.nodes.revision)).line, end=True)

    def inject(self, *lines: bytes, end: bool) -> None:
        """Send every open watch these lines after all changes so far, and end it or not."""
        for watch in self._handler.watches:
            watch.inject(b"".join(lines), end=end)
        self._handler.wake()

    def cut(self, how: How = How.RESET) -> None:
        """End every connection, or let it fall silent for good; new ones are served."""
        if self._server is not None:
            self._server.cut(how)

    def verbs(self) -> set[tuple[str, str]]:
        """What was asked for, in the words of RBAC."""
        return {(seen.verb, seen.resource) for seen in self.requests if seen.resource}

    async def _end_watches(self) -> None:
        when = asyncio.get_running_loop().time() + self._timing.grace * self._timing.second
        for watch in self._handler.watches:
            watch.end_by(when)
        self._handler.wake()
        with contextlib.suppress(TimeoutError):  # of one that is frozen
            async with asyncio.timeout_at(when + _LINGER):
                while self._handler.watches:  # noqa: ASYNC110 - bounded
                    await asyncio.sleep(_POLL)


def _dated(node: Object) -> Object:
    return {**node, "metadata": {"creationTimestamp": _EPOCH, **node["metadata"]}}
