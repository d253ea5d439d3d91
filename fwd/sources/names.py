# SPDX-License-Identifier: Apache-2.0
"""Names of servers, looked up beside the event loop.

A lookup cannot be cancelled, and takes the C library 20 s and more while name servers are silent.
uvloop's own is waited for at the loop's end, and asyncio's too, so that SIGTERM would be obeyed
after the last of them.  Here each is a daemon thread, which holds nothing up: there is one at most
for a name, and whoever asks meanwhile waits for that one, as long as he likes.
"""

import asyncio
import socket
import threading
from contextlib import suppress
from ipaddress import ip_address

from msgspec import Struct

MOST = 16
"""Threads.  There are as many names as --etcd-endpoints has, and those that a server leads to."""


class Found(Struct, frozen=True):
    """An address as text, and its family, which is one of `socket`'s."""

    host: str
    family: int


class Unresolved(OSError):  # noqa: N818 - read as "raise Unresolved"
    """Why a name leads nowhere, in one line that has the name."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(socket.EAI_FAIL, f"cannot resolve {name}: {why}")

    def __str__(self) -> str:
        return str(self.strerror)


_Answer = list[Found] | str
"""Or why there is none."""
_Question = tuple[str, int]
"""A name, and flags of getaddrinfo."""


class _Caller(Struct, frozen=True, eq=False):
    """Who waits, in the loop that he waits in."""

    loop: asyncio.AbstractEventLoop
    answer: "asyncio.Future[_Answer]"
    """Never an exception: nobody looks at one that comes too late, and asyncio would say so."""

    def tell(self, answer: _Answer) -> None:
        """From any thread."""
        with suppress(RuntimeError):  # the loop is closed
            self.loop.call_soon_threadsafe(self._hear, answer)

    def _hear(self, answer: _Answer) -> None:
        if not self.answer.done():
            self.answer.set_result(answer)


class Names:
    """Lookups under way; those of all loops and threads."""

    def __init__(self, *, most: int = MOST) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._under_way: dict[_Question, set[_Caller]] = {}

    async def look_up(self, name: str, *, seconds: float, flags: int = 0) -> list[Found]:
        """Its addresses, best first, within that time; `flags` are getaddrinfo's.

        Raises Unresolved.
        """
        if literal := _literal(name):
            return [literal]
        loop = asyncio.get_running_loop()
        caller = _Caller(loop, loop.create_future())
        self._ask((name, flags), caller)
        try:
            async with asyncio.timeout(seconds):
                answer = await caller.answer
        except TimeoutError:
            raise Unresolved(name, "no answer in time") from None
        finally:
            self._leave((name, flags), caller)
        if isinstance(answer, str):
            raise Unresolved(name, answer)
        return answer

    def _ask(self, question: _Question, caller: _Caller) -> None:
        name = question[0]
        with self._lock:
            if question in self._under_way:
                self._under_way[question].add(caller)
                return
            if len(self._under_way) >= self._most:
                raise Unresolved(name, f"{self._most} other names hang")
            self._under_way[question] = {caller}
        try:
            threading.Thread(
                target=self._work, args=(question,), name=f"name {name}", daemon=True
            ).start()
        except RuntimeError as error:  # there are too many
            self._tell(question, _line(error))

    def _leave(self, question: _Question, caller: _Caller) -> None:
        with self._lock:
            self._under_way.get(question, set()).discard(caller)

    def _work(self, question: _Question) -> None:
        """In a thread of its own."""
        name, flags = question
        answer: _Answer
        try:
            answer = _addresses(name, flags)
        except Exception as error:  # noqa: BLE001 - whatever it is, callers wait
            answer = _line(error)
        self._tell(question, answer)

    def _tell(self, question: _Question, answer: _Answer) -> None:
        with self._lock:
            callers = self._under_way.pop(question)
        for caller in callers:
            caller.tell(answer)


NAMES = Names()
"""The process's."""


def _literal(text: str) -> Found | None:
    """Of what is an address already, perhaps with a zone."""
    try:
        version = ip_address(text.partition("%")[0]).version
    except ValueError:
        return None
    return Found(text, socket.AF_INET if version == 4 else socket.AF_INET6)


def _addresses(name: str, flags: int) -> list[Found]:
    found = []
    for family, _, _, _, address in socket.getaddrinfo(
        name, None, type=socket.SOCK_STREAM, flags=flags
    ):
        zone = address[3] if len(address) == 4 else 0
        found.append(Found(f"{address[0]}%{zone}" if zone else str(address[0]), family))
    return found


def _line(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return " ".join(text.split()) or type(error).__name__
