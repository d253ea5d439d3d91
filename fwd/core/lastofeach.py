# SPDX-License-Identifier: Apache-2.0
"""The last few of each kind of things that come one after the other: many of one hide no other."""

from collections import defaultdict, deque
from collections.abc import Hashable
from operator import itemgetter
from typing import Generic, TypeVar

T = TypeVar("T")


class LastOfEach(Generic[T]):
    """Each has a number, from 1 on, in the order in which they came."""

    def __init__(self, most: int) -> None:
        """So many of a kind."""
        self._of: defaultdict[Hashable, deque[tuple[int, T]]] = defaultdict(
            lambda: deque(maxlen=most)
        )
        self.count = 0
        """The number of the last one."""

    def add(self, kind: Hashable, one: T) -> None:
        """It has come."""
        self.count += 1
        self._of[kind].append((self.count, one))

    def since(self, number: int) -> list[T]:
        """Those that are left with a higher number, in their order."""
        fresh = [pair for of in self._of.values() for pair in of if pair[0] > number]
        return [one for _, one in sorted(fresh, key=itemgetter(0))]
