# SPDX-License-Identifier: Apache-2.0
"""One echo request and what became of it, in an event loop, many at a time.

    async with Prober(IPV4) as prober:
        echo = await prober.echo(address, size=1450, timeout=1.0)

DF is set.  Every request ends: with a reply, with an error of this node or of the way, or by its
time limit.
"""

import asyncio
import errno
import os
import time
from collections.abc import Callable
from enum import Enum
from types import TracebackType
from typing import Self

from msgspec import Struct

from fwd.model import IPV4, IPV6, Address
from fwd.ops.probe import wire
from fwd.ops.probe.echosocket import EchoSocket, Told

_SEQUENCES = 1 << 16
DEFAULT_SIZE = {IPV4: 84, IPV6: 104}
"""Of ping(8): 56 bytes of payload."""


class Outcome(Enum):
    """What became of a request."""

    REPLY = "reply"
    SILENCE = "silence"
    """Nothing came within the time."""
    TOO_BIG = "too big"
    """This node or a router said so."""
    UNREACHABLE = "unreachable"
    """This node or a router said so, or refused it."""


class Echo(Struct, frozen=True, kw_only=True):
    """A request and its end."""

    address: Address
    size: int
    """Bytes of the IP packet."""
    outcome: Outcome
    seconds: float | None = None
    """From sending to the reply."""
    sender: Address | None = None
    """Whose word it is, if not this node's."""
    error: str = ""
    """What was said instead of a reply, for people."""
    code: int = 0
    """The same as errno, if it is one."""
    mtu: int | None = None
    """Of TOO_BIG: what would pass, if that was said."""


class Carrier(Struct, frozen=True):
    """Another way for a request than the kernel's own."""

    source: Address
    """That the packet says it is from."""
    send: Callable[[bytes], object]
    """Takes a whole IP packet.  Raises OSError."""


class Prober:
    """Echo requests of one family.  Works while it is entered, in one event loop."""

    def __init__(
        self,
        family: int,
        *,
        source: Address | None = None,
        scope: int = 0,
        device: str | None = None,
    ) -> None:
        """`source`: the address to send from; `device`: the only device to send through.

        `scope`: number of the interface that link-local addresses are of.
        """
        self.family = family
        self._source = source
        self._scope = scope
        self._device = device
        self._nonce = os.urandom(wire.NONCE_LEN)
        self._next = 0
        self._waiting: dict[int, tuple[Address, asyncio.Future[Told]]] = {}
        self._socket: EchoSocket

    async def __aenter__(self) -> Self:
        """Raises FwdError where this process may not send, OSError for the rest."""
        self._socket = EchoSocket.open(
            self.family, source=self._source, scope=self._scope, device=self._device
        )
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self._read)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        asyncio.get_running_loop().remove_reader(self._socket.fileno())
        self._socket.close()

    @property
    def kind(self) -> str:
        """Of the socket: `ping`, which needs no rights, or `raw`."""
        return self._socket.kind

    async def echo(
        self,
        address: Address,
        *,
        timeout: float,  # noqa: ASYNC109 - of one packet
        size: int = 0,
        via: Carrier | None = None,
    ) -> Echo:
        """One request of `size` bytes in all (0: as ping sends), waited for `timeout` seconds.

        `via` takes the packet where it is not the kernel that shall send it.
        """
        size = max(size or DEFAULT_SIZE[self.family], wire.smallest(self.family))
        sequence = self._free_sequence()
        told = asyncio.get_running_loop().create_future()
        self._waiting[sequence] = address, told
        try:
            begun = time.perf_counter()
            code = self._send(address, sequence, size, via)
            if code:
                return _failed(address, size, Told(sequence, self._nonce, None, code))
            async with asyncio.timeout(timeout):
                answer: Told = await told
            seconds = time.perf_counter() - begun
        except TimeoutError:
            return Echo(address=address, size=size, outcome=Outcome.SILENCE, error="no answer")
        finally:
            del self._waiting[sequence]
        if answer.error:
            return _failed(address, size, answer)
        return Echo(
            address=address,
            size=size,
            outcome=Outcome.REPLY,
            seconds=seconds,
            sender=answer.sender,
        )

    def _send(self, address: Address, sequence: int, size: int, via: Carrier | None) -> int:
        """0 or an errno.

        The kernel may answer with what became of an earlier request; then this one was not sent.
        """
        code = 0
        if via is not None:
            packet = self._socket.packet(
                via.source, address, sequence=sequence, nonce=self._nonce, size=size
            )
            try:
                via.send(packet)
            except OSError as error:
                code = error.errno or errno.EIO
            return code
        for _ in range(2):
            code = self._socket.send(address, sequence=sequence, nonce=self._nonce, size=size)
            if code in {0, errno.EMSGSIZE}:
                break
            self._read()
        return code

    def _free_sequence(self) -> int:
        assert len(self._waiting) < _SEQUENCES
        while self._next in self._waiting:
            self._next = (self._next + 1) % _SEQUENCES
        found, self._next = self._next, (self._next + 1) % _SEQUENCES
        return found

    def _read(self) -> None:
        for told in self._socket.answers():
            address, future = self._waiting.get(told.sequence, (None, None))
            if future is None or future.done() or told.nonce != self._nonce:
                continue
            if told.error or told.sender == address:
                future.set_result(told)


def _failed(address: Address, size: int, told: Told) -> Echo:
    too_big = told.error == errno.EMSGSIZE
    said = os.strerror(told.error).lower()
    return Echo(
        address=address,
        size=size,
        outcome=Outcome.TOO_BIG if too_big else Outcome.UNREACHABLE,
        sender=told.sender,
        error=said if told.sender is None else f"{said}, says {told.sender}",
        code=told.error,
        mtu=told.mtu or None,
    )
