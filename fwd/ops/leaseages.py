# SPDX-License-Identifier: Apache-2.0
"""Since when each lease is in force."""

import time
from collections.abc import Iterable

from fwd.model import Lease


class LeaseAges:
    """Remembers when it was first shown each lease, by this process's clock."""

    def __init__(self) -> None:
        self._since: dict[tuple[str, int], tuple[Lease, float]] = {}
        self._last = time.monotonic()

    def note(self, leases: Iterable[Lease]) -> None:
        """These are in force now, and no others."""
        before, self._since = self._since, {}
        self._last = now = time.monotonic()
        for lease in leases:
            key = (lease.node, lease.family)
            known = before.get(key)
            same = known is not None and (known[0] is lease or known[0] == lease)
            self._since[key] = known if known is not None and same else (lease, now)

    @property
    def seconds(self) -> float:
        """Since leases were last put into force."""
        return time.monotonic() - self._last

    def of(self, lease: Lease) -> float:
        """Seconds since this one is in force."""
        known = self._since.get((lease.node, lease.family))
        return 0.0 if known is None else time.monotonic() - known[1]
