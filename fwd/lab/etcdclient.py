# SPDX-License-Identifier: Apache-2.0
"""The lab's own client of etcd, by its JSON gateway: not the agent's, and not its way either.

``python -m fwd.lab.etcdclient URL put KEY VALUE`` (or ``del KEY``) is for a command that has to be
in the namespace from which etcd can be reached.
"""

import http.client
import sys
import time
from base64 import b64decode, b64encode
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from fwd.lab.kernelpeers import LostError

PREFIX: Final = "/coreos.com/network"
SUBNETS: Final = f"{PREFIX}/subnets/"
_ANSWER: Final = 10.0  # seconds for the next byte of an answer


class Change(Struct, frozen=True):
    """A key and its value; None: it is gone."""

    key: str
    value: str | None


class Etcd(Struct, frozen=True):
    """One etcd; what fails is a ``LostError``."""

    url: str

    def put(self, key: str, value: str, *, lease: int = 0) -> None:
        """Write a key."""
        self._ask("kv/put", {"key": _wire(key), "value": _wire(value), "lease": str(lease)})

    def delete(self, key: str) -> None:
        """Delete a key, or none."""
        self._ask("kv/deleterange", {"key": _wire(key)})

    def grant(self, seconds: int) -> int:
        """A lease."""
        return int(self._ask("lease/grant", {"TTL": str(seconds)})["ID"])

    def list(self, prefix: str) -> tuple[dict[str, str], int]:
        """Value by key, of all that begin with a prefix, and their revision."""
        found = self._ask("kv/range", _of(prefix))
        values = {_text(kv["key"]): _text(kv.get("value", "")) for kv in found.get("kvs", ())}
        return values, int(found["header"]["revision"])

    def watch(self, prefix: str, *, after: int) -> Generator[Change, None, None]:
        """What happens after a revision, until it ends."""
        create = _of(prefix) | {"start_revision": str(after + 1)}
        with self._request("watch", {"create_request": create}, patience=None) as answer:
            while line := answer.readline():
                result = _decode(line).get("result", {})
                if result.get("canceled"):
                    raise LostError(f"watch: {result}")
                for event in result.get("events", ()):
                    is_gone = event.get("type") == "DELETE"
                    value = None if is_gone else _text(event["kv"].get("value", ""))
                    yield Change(_text(event["kv"]["key"]), value)

    def _ask(self, path: str, body: object) -> dict[str, Any]:
        with self._request(path, body, patience=_ANSWER) as answer:
            return _decode(answer.read())

    @contextmanager
    def _request(
        self, path: str, body: object, *, patience: float | None
    ) -> Iterator[http.client.HTTPResponse]:
        where = urlsplit(self.url)
        connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=patience)
        try:
            connection.request("POST", f"/v3/{path}", msgspec.json.encode(body))
            answer = connection.getresponse()
            if answer.status != 200:
                raise LostError(f"{path}: {answer.status}")
            with answer:
                yield answer
        except (OSError, http.client.HTTPException) as error:
            raise LostError(f"{path}: {error}") from error
        finally:
            connection.close()


def _of(prefix: str) -> dict[str, str]:
    end = prefix[:-1] + chr(ord(prefix[-1]) + 1)
    return {"key": _wire(prefix), "range_end": _wire(end)}


def _wire(text: str) -> str:
    return b64encode(text.encode()).decode()


def _text(data: str) -> str:
    return b64decode(data).decode()


def _decode(data: bytes) -> dict[str, Any]:
    try:
        found: dict[str, Any] = msgspec.json.decode(data)
    except msgspec.DecodeError as error:
        raise LostError(f"half an answer: {error}") from error
    return found


def main(argv: list[str]) -> int:
    """One command; says when it was given, by ``time.monotonic()``, or in one line what failed."""
    url, command, key, *value = argv
    try:
        print(time.monotonic())
        if command == "put":
            Etcd(url).put(key, *value)
        else:
            Etcd(url).delete(key)
    except LostError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
