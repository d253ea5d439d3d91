# SPDX-License-Identifier: Apache-2.0
"""The highest rate at which less than so much is lost.  Pure: the trials are the caller's.

Loss is no clean step: near the limit one trial loses and the next does not.  So the answer is the
best trial that was measured, never a rate between two, and the rounds give its spread.
"""

from collections.abc import Callable
from typing import Protocol, TypeVar


class Trial(Protocol):
    """What one offered rate came to."""

    @property
    def loss_percent(self) -> float:
        """Of what was sent."""

    @property
    def sent_rate(self) -> float:
        """A second; below what was asked for when the sender was not that fast."""

    @property
    def arrival_rate(self) -> float:
        """A second."""


T = TypeVar("T", bound=Trial)


def highest(
    offer: Callable[[int], T], *, unpaced: T, allowed_percent: float, steps: int
) -> T | None:
    """Search by halving between nothing and what one unpaced sender offers.

    Args:
        offer: measures at a rate, a second.
        unpaced: a trial of a sender as fast as it goes; if it lost little, it is the answer.
        allowed_percent: a trial that loses less is good.
        steps: trials at most.

    Returns:
        The good trial with the highest arrival rate; None if there was none.
    """
    if unpaced.loss_percent < allowed_percent:
        return unpaced
    best: T | None = None
    low, high = 0.0, unpaced.sent_rate
    # What got through at saturation is the best guess there is of what gets through at all.
    rate = unpaced.arrival_rate
    for _ in range(steps):
        if rate < 1:
            break
        trial = offer(int(rate))
        if trial.loss_percent < allowed_percent:
            low = rate
            if best is None or trial.arrival_rate > best.arrival_rate:
                best = trial
        else:
            high = rate
        rate = (low + high) / 2
    return best
