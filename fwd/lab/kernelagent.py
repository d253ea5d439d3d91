# SPDX-License-Identifier: Apache-2.0
"""``python -m fwd.lab.kernelagent``: what flanneld does on a node with the kernel's vxlan device.

It annotates its Node, lists and watches all others, and keeps neighbour, FDB and route of each, for
ever.  The device itself is there before (``kernelnode.vtep``).  It is the other side of what fwd is
tested for, so it keeps flannel's habits where fwd knows better (flannel spec 3.5, 5.3): only a
change of annotations makes it look, a Node that stops being flannel's stays, and what was there
before it began is not cleaned up.
"""

import argparse
import http.client
import socket
import ssl
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from fwd.lab import nodeobject
from fwd.lab.clusternodes import PREFIX, Object
from fwd.lab.kernelnode import Peer
from fwd.lab.kernelpeers import KernelPeers, LostError, say

_ANSWER: Final = 10.0  # seconds for the next byte of an answer
_SILENCE: Final = 90.0  # ... of a watch, which has a bookmark each minute
_RETRY: Final = 0.2  # seconds
_NODES: Final = "/api/v1/nodes"


class Access(Struct, frozen=True):
    """The way in: the API server's URL, its authority and the token."""

    url: str
    ca: Path
    token: str

    def ask(self, method: str, path: str, *, body: object = None) -> bytes:
        """The whole answer; half of one, and any other than 200, is ``LostError``."""
        with self._request(method, path, body, patience=_ANSWER) as answer:
            return answer.read()

    def lines(self, path: str) -> Generator[bytes, None, None]:
        """Those of a watch as they come, until it ends; what breaks off is ``LostError``."""
        with self._request("GET", path, None, patience=_SILENCE) as answer:
            while line := answer.readline():
                yield line

    @contextmanager
    def _request(
        self, method: str, path: str, body: object, *, patience: float
    ) -> Iterator[http.client.HTTPResponse]:
        where = urlsplit(self.url)
        context = ssl.create_default_context(cafile=str(self.ca))
        connection = http.client.HTTPSConnection(
            where.hostname or "", where.port, timeout=patience, context=context
        )
        headers = {"Authorization": f"Bearer {self.token}", "User-Agent": "flannel of fwd lab"}
        if body is not None:
            headers["Content-Type"] = "application/strategic-merge-patch+json"
        data = None if body is None else msgspec.json.encode(body)
        try:
            connection.request(method, path, data, headers)
            answer = connection.getresponse()
            if answer.status != 200:
                raise LostError(f"{method} {path}: {answer.status}")
            with answer:
                yield answer  # read in here: a body breaks off as well as a head
        except (OSError, http.client.HTTPException) as error:
            raise LostError(f"{method} {path}: {error}") from error
        finally:
            connection.close()


class KernelAgent:
    """One node's; ``families`` are those that it has devices of."""

    def __init__(
        self, access: Access, *, node: str, namespace: str, families: tuple[int, ...]
    ) -> None:
        self._access = access
        self._node = node
        self._peers = KernelPeers(namespace)
        self._families = families
        self._marks: dict[str, dict[str, str]] = {}  # flannel's annotations as they were last seen

    def publish(self, marks: dict[str, str]) -> None:
        """Annotate this Node."""
        path = f"{_NODES}/{self._node}/status"
        self._access.ask("PATCH", path, body={"metadata": {"annotations": marks}})

    def list_all(self) -> str:
        """Take in all Nodes; returns their version."""
        document = _decode(self._access.ask("GET", _NODES))
        there = {nodeobject.name_of(found): found for found in document["items"]}
        for name in self._peers.names - there.keys():
            self._leave(name)
        self._take(there.values())
        version: str = document["metadata"]["resourceVersion"]
        return version

    def watch(self, version: str) -> None:
        """Take in what changes after a version, until the watch ends."""
        query = f"?watch=true&allowWatchBookmarks=true&timeoutSeconds=300&resourceVersion={version}"
        with closing(self._access.lines(_NODES + query)) as lines:
            for event in map(_decode, lines):
                match event["type"]:
                    case "ADDED" | "MODIFIED":
                        self._take([event["object"]])
                    case "DELETED":
                        self._leave(nodeobject.name_of(event["object"]))
                    case "ERROR":
                        raise LostError(f"watch: {event['object'].get('message')}")

    def _take(self, nodes: Any) -> None:  # noqa: ANN401 - an iterable of JSON objects
        """Program what these Nodes say now."""
        came: dict[str, tuple[Peer, ...]] = {}
        for found in nodes:
            name = nodeobject.name_of(found)
            marks = _flannels(found)
            if name == self._node or self._marks.get(name) == marks:
                continue
            self._marks[name] = marks
            try:
                peers = nodeobject.peers_of(found, families=self._families)
            except ValueError as error:
                say(f'Error turning node "{name}" to lease: {error}')
                continue
            if peers is not None:
                came[name] = peers
        self._peers.add(came)

    def _leave(self, name: str) -> None:
        self._marks.pop(name, None)
        self._peers.remove(name)


def _flannels(found: Object) -> dict[str, str]:
    marks = found["metadata"].get("annotations") or {}
    return {key: value for key, value in marks.items() if key.startswith(PREFIX)}


def _decode(data: bytes) -> Any:  # noqa: ANN401 - JSON
    try:
        return msgspec.json.decode(data)
    except msgspec.DecodeError as error:
        raise LostError(f"half an answer: {error}") from error


def main(argv: list[str]) -> None:
    """Run it for ever."""
    parser = argparse.ArgumentParser(prog="python -m fwd.lab.kernelagent", allow_abbrev=False)
    for name in ("url", "node", "namespace", "marks"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("ca", "token"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--family", type=int, action="append", required=True)
    given = parser.parse_args(argv)
    access = Access(url=given.url, ca=given.ca, token=given.token.read_text(encoding="ascii"))
    agent = KernelAgent(
        access, node=given.node, namespace=given.namespace, families=tuple(given.family)
    )
    marks = msgspec.json.decode(given.marks, type=dict[str, str])
    published = told = False
    while True:
        try:
            if not published:
                agent.publish(marks)
                published = True
            version = agent.list_all()
            if not told:
                say(f"programs node={given.node}")
                told = True
            agent.watch(version)
        except LostError as error:
            say(str(error))
            time.sleep(_RETRY)


if __name__ == "__main__":
    socket.setdefaulttimeout(_ANSWER)
    main(sys.argv[1:])
