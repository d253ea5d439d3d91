# SPDX-License-Identifier: Apache-2.0
"""A lookup of names that hangs until a test has it answer."""

import asyncio
import gc
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest

NAME = "server.test"
ANSWER = [
    (socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("fe80::1", 0, 0, 7)),
    (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", 0)),
]
HERE = [ANSWER[1]]
LONG = 20.0
"""Seconds that no test takes."""


class Lookups:
    """Stands for the C library's lookup: it hangs until it is told the answer."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answer: Any = ANSWER
        self._may_answer = threading.Event()

    def getaddrinfo(self, name: str, *_: object, **__: object) -> Any:  # noqa: ANN401
        self.asked.append(name)
        assert self._may_answer.wait(LONG)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def answers(self, answer: Any = ANSWER) -> None:  # noqa: ANN401
        self.answer = answer
        self._may_answer.set()


@contextmanager
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lookups]:
    """No lookup is left behind."""
    made = Lookups()
    monkeypatch.setattr(socket, "getaddrinfo", made.getaddrinfo)
    yield made
    made.answers()
    wait_for(lambda: not looking())


@asynccontextmanager
async def no_complaints() -> AsyncIterator[None]:
    """asyncio logs nothing of what nobody has looked at."""
    found: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, what: found.append(str(what)))
    yield
    gc.collect()
    await asyncio.sleep(0)
    assert not found


def looking() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name.startswith("name ")]


def wait_for(done: Callable[[], object]) -> None:
    end = time.monotonic() + LONG
    while not done():
        assert time.monotonic() < end
        time.sleep(0.002)
