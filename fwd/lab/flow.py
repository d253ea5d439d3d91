# SPDX-License-Identifier: Apache-2.0
"""TCP between two namespaces that asks and is answered a hundred times a second, until told to end.

Not a stream at full speed: what is measured is whether it ever stands still, and a machine that is
busy with carrying it would stand still by itself.  For the same reason time counts only while the
asker itself runs: it looks for the answer every few milliseconds, and a look that comes late says
that the machine was away (0.7 s were seen on a shared one), not TCP.

``python -m fwd.lab.flow`` is either end.
"""

import contextlib
import select
import selectors
import socket
import subprocess
import sys
import time
from types import TracebackType
from typing import Final, Self

from msgspec import Struct

from fwd.lab import netns, service
from fwd.lab.errors import LabError

_PORT: Final = 5001
_PAUSE: Final = 0.01  # seconds
_LOOK: Final = 0.005  # seconds
_QUESTION: Final = 2000  # bytes: more than one packet
# A question's second segment would wait for the first one's acknowledgement, which is delayed.
_AT_ONCE: Final = (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
_GIVE_UP: Final = 10.0  # seconds without an answer, or a start


class Course(Struct, frozen=True):
    """How a flow went: the longest wait for an answer, in seconds, and how many came."""

    longest: float
    answers: int


class Flow:
    """A context manager: it flows within, and is ended with it at the latest."""

    def __init__(self, source: str, target: str, address: str) -> None:
        """From one namespace to another, in which the address is."""
        self._source = source
        self._target = target
        self._address = address
        self._stack = contextlib.ExitStack()
        self._ask: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            echo = self._start(stack, self._target, "echo")
            _await_line(echo, "listens")
            self._ask = self._start(stack, self._source, "ask")
            _await_line(self._ask, "flows")
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def end(self) -> Course:
        """Stop asking.

        Raises:
            LabError: the connection was lost, or there was no answer for too long.
        """
        assert self._ask is not None
        try:
            out, err = self._ask.communicate(b"\n", timeout=2 * _GIVE_UP)
        except subprocess.TimeoutExpired as slow:
            raise LabError("the TCP flow does not end") from slow
        words = out.decode().split()
        if self._ask.returncode != 0 or len(words) != 2:
            lines = err.decode(errors="replace").strip().splitlines()
            raise LabError(f"the TCP flow broke: {lines[-1] if lines else 'without a word'}")
        return Course(longest=float(words[0]), answers=int(words[1]))

    def _start(
        self, stack: contextlib.ExitStack, namespace: str, role: str
    ) -> "subprocess.Popen[bytes]":
        argv = netns.inside(namespace, sys.executable, "-m", "fwd.lab.flow", role, self._address)
        process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=service.environment(),
        )
        stack.enter_context(process)  # closes its pipes and waits
        stack.callback(process.kill)
        return process


def _await_line(process: "subprocess.Popen[bytes]", word: str) -> None:
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        if selector.select(2 * _GIVE_UP) and process.stdout.readline().decode().strip() == word:
            return
    process.kill()
    _, err = process.communicate()
    lines = err.decode(errors="replace").strip().splitlines()
    raise LabError(f"no TCP flow: {lines[-1] if lines else f'it does not say {word!r}'}")


def _echo(address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, _PORT), family=family) as listener:
        print("listens", flush=True)
        connection, _ = listener.accept()
        with connection:
            connection.setsockopt(*_AT_ONCE)
            while data := connection.recv(65536):
                connection.sendall(data)


def _ask(address: str) -> None:
    longest, count = 0.0, 0
    with socket.create_connection((address, _PORT), timeout=_GIVE_UP) as connection:
        connection.setsockopt(*_AT_ONCE)
        print("flows", flush=True)
        while not select.select([sys.stdin], [], [], _PAUSE)[0]:
            connection.sendall(b"x" * _QUESTION)
            longest, count = max(longest, _await_answer(connection)), count + 1
    print(longest, count, flush=True)


def _await_answer(connection: socket.socket) -> float:
    """Read it; returns how many seconds it took."""
    left, waited = _QUESTION, 0.0
    while left:
        begin = time.monotonic()
        is_there = select.select([connection], [], [], _LOOK)[0]
        waited += min(time.monotonic() - begin, 2 * _LOOK)
        if is_there:
            left -= len(connection.recv(left)) or sys.exit("the other end closed it")
        elif waited > _GIVE_UP:
            sys.exit(f"no answer for {waited:.0f} s")
    return waited


if __name__ == "__main__":
    {"echo": _echo, "ask": _ask}[sys.argv[1]](sys.argv[2])
