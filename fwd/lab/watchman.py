# SPDX-License-Identifier: Apache-2.0
"""Fifty echo requests a second to an address, and when what came back first: a reply, or a no.

The times are ping's own, so they are as good on a busy machine as on an idle one.
"""

import enum
import re
import selectors
import subprocess
import time
from types import TracebackType
from typing import Final, Self

from fwd.lab import child, netns
from fwd.lab.errors import LabError

_INTERVAL: Final = 0.02  # seconds


class Word(enum.Enum):
    """What came back."""

    REPLY = rb"^\[(\d+\.\d+)\] \d+ bytes from "
    UNREACHABLE = rb"^\[(\d+\.\d+)\] From \S+ .*Destination (?:\w+ Unr|unr)eachable"


class Watchman:
    """A context manager: it pings within."""

    def __init__(self, namespace: str, address: str) -> None:
        self._address = address
        ping = child.find("ping") or "ping"
        options = f"-n -D -i {_INTERVAL}".split()
        self._argv = netns.inside(namespace, ping, *options, address)
        self._process: subprocess.Popen[bytes] | None = None
        self._said = b""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.communicate()

    def first(self, word: Word, *, deadline: float) -> float | None:
        """When this came for the first time, by ``time.monotonic()``; None if not by the deadline.

        Raises:
            LabError: ping does not run.
        """
        while not (found := re.search(word.value, self._said, re.MULTILINE)):
            left = deadline - time.monotonic()
            if left <= 0 or not self._hear(left):
                return None
        return float(found[1]) - (time.time() - time.monotonic())

    def _hear(self, patience: float) -> bool:
        assert self._process is not None
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            if not selector.select(patience):
                return False
        more = self._process.stdout.read1(65536)  # type: ignore[attr-defined]  # a BufferedReader
        if not more:
            raise LabError(f"ping {self._address}: {self._said.decode(errors='replace')[-80:]}")
        self._said += more
        return True
