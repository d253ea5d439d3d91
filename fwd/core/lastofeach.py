# SPDX-License-Identifier: Apache-2.0
"""The last few of each kind of things that come one after the other: many of one hide no other."""

from collections import defaultdict, deque
from collections.abc import Hashable
from heapq import merge
from itertools import takewhile
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
        fresh = (takewhile(lambda one: one[0] > number, reversed(of)) for of in self._of.values())
        found = [one for _, one in merge(*fresh, key=itemgetter(0), reverse=True)]
        return found[::-1]
