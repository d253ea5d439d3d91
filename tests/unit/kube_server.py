# SPDX-License-Identifier: Apache-2.0
"""The lab's API server in the test's own loop, and a few words that tests of its clients need.

Without TLS it takes a client for flannel that shows no token, so that most tests need none.
"""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fwd.lab.apiserver.access import ANONYMOUS, FLANNEL_ROLE
from fwd.lab.apiserver.faults import Fault
from fwd.lab.apiserver.server import ApiServer
from fwd.lab.apiserver.watching import Timing
from tests.unit.in_family import said
from tests.unit.kube_support import PREFIX


class Server(ApiServer):
    """`nodes` are put and deleted by the test."""

    def __init__(self, *, timing: Timing | None = None) -> None:
        super().__init__(timing=timing)
        self.access.rules[ANONYMOUS] = set(FLANNEL_ROLE)
        self.nodes.advance(100)

    def count(self, verb: str) -> int:
        return sum(seen.verb == verb for seen in self.requests)

    def fault(self, effect: Any, **fields: Any) -> None:  # noqa: ANN401
        self.faults.add(Fault(effect, **fields))

    @property
    def faults_left(self) -> int:
        return len(self.faults)

    def annotations(self, name: str) -> dict[str, str]:
        version = self.nodes.get(name)
        assert version is not None
        found: dict[str, str] = version.decode()["metadata"].get("annotations") or {}
        return found

    def change(self, name: str, families: Sequence[int] = (4,), **values: str | None) -> None:
        """Changes flannel's annotations by hand, said in IPv4 for each family; None removes one."""
        keys = {PREFIX + field.replace("_", "-"): value for field, value in values.items()}
        for family in families:
            self.patch_node(name, {"metadata": {"annotations": said(family, keys)}})

    def patches(self) -> list[dict[str, Any]]:
        """What clients have patched, oldest first."""
        seen = [one for one in self.requests if one.verb == "patch"]
        assert {one.content_type for one in seen} <= {"application/strategic-merge-patch+json"}
        return [json.loads(one.body) for one in seen]

    async def play(self, *lines: bytes) -> None:
        """Sends these to the next watch, or the one that is open, and ends it."""
        async with asyncio.timeout(5):
            while not self.watches:  # noqa: ASYNC110 - bounded
                await asyncio.sleep(0.001)
        self.inject(*lines, end=True)

    def replay(self) -> list[bytes]:
        """Every event that is known, as it was sent."""
        return [change.now.line for change in self.nodes.since(self.nodes.floor)]


@asynccontextmanager
async def serving(
    *objects: dict[str, Any], timing: Timing | None = None, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Server]:
    """A server that has these Nodes.  With TLS it wants a token."""
    server = Server(timing=timing)
    if tls is not None:
        del server.access.rules[ANONYMOUS]
    for one in objects:
        server.nodes.put(one)
    await server.start(tls=tls)
    async with _stopped_at_last(server):
        yield server


@asynccontextmanager
async def _stopped_at_last(server: Server) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await server.__aexit__()
