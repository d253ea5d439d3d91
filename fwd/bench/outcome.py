# SPDX-License-Identifier: Apache-2.0
"""What a measurement yields, as values: pure, and known to those who measure and who count."""

from typing import Final

from msgspec import Struct

MAX_STOLEN: Final = 0.02  # share of the processors; more of it, and a measurement is repeated
MAX_LOAD: Final = 0.10
MOVED: Final = 2.0
"""Times as far apart: then processors were moved to other places of the host."""


class Metric(Struct, frozen=True):
    """One figure; ``digits`` after the point, ``more`` of it is better or less."""

    name: str
    text: str
    unit: str
    more: bool = True
    digits: int = 2


class Outcome(Struct, frozen=True):
    """What one scenario came to with one contender.

    Attributes:
        values: by the metric's name.
        error: why there are none, or not all.
        retransmits: of TCP, by the sender's kernel.
        loss_percent: of UDP, by the metric's name; at saturation that is no fault.
        datagrams: of UDP, how many arrived; ``reordered`` of them late, ``duplicate`` twice.
        unanswered: requests of round trips that got no answer.
    """

    values: dict[str, float] = {}
    error: str | None = None
    retransmits: int = 0
    loss_percent: dict[str, float] = {}
    datagrams: int = 0
    reordered: int = 0
    duplicate: int = 0
    unanswered: int = 0


class Sample(Struct, frozen=True):
    """One outcome, where it belongs and what the machine did meanwhile.

    Attributes:
        underlay: the state of its links (``links.STATES``).
        stolen: share of the processors' time that the hypervisor gave to others.
        load: share that was busy just before, with nothing of ours running.
        apart: nanoseconds from the first processor's cache to the last one's and back, the larger
            of before and after; 0: unknown.
        moved: whether that was another before it than after it.
        repeats: how often it was measured before, and thrown away as disturbed.
    """

    underlay: str
    scenario: str
    contender: str
    round: int
    outcome: Outcome
    stolen: float = 0.0
    load: float = 0.0
    apart: int = 0
    moved: bool = False
    repeats: int = 0

    @property
    def disturbed(self) -> bool:
        """Whether something else had a part in it."""
        return self.stolen > MAX_STOLEN or self.load > MAX_LOAD or self.moved
