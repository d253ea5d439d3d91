# SPDX-License-Identifier: Apache-2.0
"""What many echo requests tell of a path: round trips, loss, and the largest packet that passes."""

import asyncio
from collections.abc import AsyncIterator, Iterable

from msgspec import Struct

from fwd.model import Address
from fwd.ops.probe.echo import Echo, Outcome, Prober

_SIZES_AT_ONCE = 40
"""Two rounds then find one size of 1,500."""


class RoundTrips(Struct, frozen=True, kw_only=True):
    """Seconds; None where nothing came back."""

    sent: int
    received: int
    shortest: float | None
    mean: float | None
    longest: float | None
    said: str
    """What was said last instead of a reply; empty: nothing."""

    @property
    def loss(self) -> float:
        """0 to 1."""
        return 1 - self.received / self.sent if self.sent else 0.0


def round_trips(echoes: Iterable[Echo]) -> RoundTrips:
    """Sums up."""
    echoes = tuple(echoes)
    times = [one.seconds for one in echoes if one.seconds is not None]
    said = [one.error for one in echoes if one.error]
    return RoundTrips(
        sent=len(echoes),
        received=len(times),
        shortest=min(times, default=None),
        mean=sum(times) / len(times) if times else None,
        longest=max(times, default=None),
        said=said[-1] if said else "",
    )


async def series(
    prober: Prober,
    address: Address,
    *,
    count: int,
    interval: float,
    timeout: float,  # noqa: ASYNC109 - of one packet
    size: int = 0,
) -> AsyncIterator[Echo]:
    """One request after the other, `interval` seconds from one to the next or as answers come.

    A count of 0 or less is without end.
    """
    loop = asyncio.get_running_loop()
    sent = 0
    while True:
        due = loop.time() + interval
        yield await prober.echo(address, size=size, timeout=timeout)
        sent += 1
        if sent == count:
            return
        await asyncio.sleep(max(0.0, due - loop.time()))


async def largest(
    prober: Prober,
    address: Address,
    *,
    passes: int,
    most: int,
    timeout: float,  # noqa: ASYNC109 - of one packet
) -> int:
    """Bytes of the largest packet that is answered, from `passes`, which is, to `most`.

    The answer is as large as the question: where only one direction is too narrow, this finds it.
    """
    if await _best(prober, address, [most], timeout=timeout):
        return most
    low, high = passes, most
    while high - low > 1:
        sizes = _between(low, high)
        low = max(low, await _best(prober, address, sizes, timeout=timeout))
        high = min((size for size in sizes if size > low), default=high)
    return low


def _between(low: int, high: int) -> list[int]:
    """Some sizes greater than low and smaller than high, evenly spaced; at least one."""
    step = max(1, (high - low) // (_SIZES_AT_ONCE + 1))
    return list(range(low + step, high, step))


async def _best(
    prober: Prober,
    address: Address,
    sizes: list[int],
    *,
    timeout: float,  # noqa: ASYNC109
) -> int:
    """The largest of these sizes, which ascend, that is answered; 0: none.

    One lost packet is not taken for a size that does not pass: what is not answered in half the
    time is asked once more.  Not both at once, and not in another order: a sender that has two
    packets of one size, or a large one before a small one, may hand them to its link as one that is
    yet to be cut (UDP_SEGMENT), and such a one passes where its parts would not.
    """
    found = 0
    for _ in range(2):
        echoes = await asyncio.gather(
            *(prober.echo(address, size=size, timeout=timeout / 2) for size in sizes)
        )
        passed = [one.size for one in echoes if one.outcome is Outcome.REPLY]
        found = max([found, *passed])
        sizes = [size for size in sizes if size > found]
        if not sizes:
            break
    return found
