# SPDX-License-Identifier: Apache-2.0
"""What is to go wrong, as data: which requests it hits, how many of them, and how.  Pure.

These are faults of single requests.  What befalls the whole server (stop, restart, freeze, lost
or older state, compaction, a rotated token) is a method of ``server.ApiServer``.
"""

import enum

from msgspec import Struct
from msgspec.structs import replace

from fwd.lab.apiserver.access import Wanted
from fwd.lab.apiserver.answers import Refusal

_REASONS = {
    401: ("Unauthorized", "Unauthorized"),
    429: ("TooManyRequests", "Too many requests, please try again later."),
    500: ("InternalError", "Internal error occurred: the lab wants it so"),
    503: ("ServiceUnavailable", "the server is currently unable to handle the request"),
    504: ("Timeout", "the server was unable to return a response in the time allotted"),
}


class How(enum.Enum):
    """How a connection ends."""

    FIN = "fin"  # in order, but too early
    RESET = "reset"
    SILENCE = "silence"  # it does not: nothing is sent any more, and it stays open
    GARBAGE = "garbage"  # nor here, but before the silence comes a proxy's own answer


class Unit(enum.Enum):
    """What a ``Cut`` counts, in bytes."""

    WIRE = "wire"  # from the first byte of the status line, chunk sizes included
    BODY = "body"  # what a client's reader gets


class Stop(enum.Enum):
    """How a whole server goes."""

    KILL = "kill"  # connections are reset
    TERM = "term"  # running watches stay for ``Timing.grace``, then end in order


class Delay(Struct, frozen=True, tag="delay"):
    """Wait before anything is sent; other faults of the same request still happen."""

    seconds: float


class Answer(Struct, frozen=True, tag="answer"):
    """An error answer, such as 429 with ``Retry-After``."""

    code: int
    retry_after: int | None = None

    def refusal(self) -> Refusal:
        """The answer."""
        reason, message = _REASONS.get(self.code, ("InternalError", "an error"))
        return Refusal(self.code, reason, message, retry_after=self.retry_after)


class Expire(Struct, frozen=True, tag="expire"):
    """410: of a watch as its first event, of a list as its answer."""


class Cut(Struct, frozen=True, tag="cut"):
    """Send this many bytes of the response and then no more."""

    after: int
    how: How = How.RESET
    unit: Unit = Unit.WIRE


Effect = Delay | Answer | Expire | Cut


class Fault(Struct, frozen=True):
    """An effect, and the requests that it hits; what is empty hits any.

    Attributes:
        verb: as RBAC has it: get, list, watch, patch.
        resource: as RBAC has it: nodes, nodes/status, pods.
        peer: the client's address, to hit one node of a lab.
        skip: so many requests pass first.
        times: how many are hit; None until it is cleared.
    """

    effect: Effect
    verb: str = ""
    resource: str = ""
    name: str = ""
    peer: str = ""
    skip: int = 0
    times: int | None = 1

    def hits(self, request: Wanted, peer: str) -> bool:
        """Whether it is meant for this request."""
        asked = (request.verb, request.resource, request.name, peer)
        meant = (self.verb, self.resource, self.name, self.peer)
        return all(want in ("", got) for want, got in zip(meant, asked, strict=True))


class Faults:
    """The faults that are still to happen, in the order in which they were added."""

    def __init__(self) -> None:
        self._pending: list[Fault] = []

    def add(self, fault: Fault) -> None:
        """Let it happen."""
        self._pending.append(fault)

    def __len__(self) -> int:
        return len(self._pending)

    def clear(self) -> None:
        """Let all be well from now on."""
        self._pending.clear()

    def take(self, request: Wanted, peer: str) -> list[Effect]:
        """What happens to a request: delays, and one other effect, the first that was added."""
        effects: list[Effect] = []
        for place, fault in enumerate(self._pending):
            if not fault.hits(request, peer):
                continue
            if fault.skip:
                self._pending[place] = replace(fault, skip=fault.skip - 1)
                continue
            if fault.times is not None:
                self._pending[place] = replace(fault, times=fault.times - 1)
            effects.append(fault.effect)
            if not isinstance(fault.effect, Delay):
                break
        self._pending = [fault for fault in self._pending if fault.times != 0]
        return effects
