# SPDX-License-Identifier: Apache-2.0
"""What every source of leases promises the agent.

A source speaks of the cluster in whole snapshots.  One that watches (an API server, etcd) keeps its
own table, lists, marks the list complete, and from then on yields the table again after each batch
of changes; a lost watch begins again with a list and ends in a snapshot like any other.  What
changed is found by value in `core.leases`, so no event can be missed for good and none has to be
undone.  Whether the leases fit together is decided there too, not here.
"""

from collections.abc import AsyncIterator
from typing import Protocol

from fwd.model import Snapshot, Trouble


class LeaseSource(Protocol):
    """Leases of the cluster, this node's own one included."""

    async def first(self) -> Snapshot:
        """The leases to start with.

        Waits for what comes by waiting; raises ConfigError for what does not.
        """

    def changes(self) -> AsyncIterator[Snapshot | Trouble]:
        """What follows, for ever.  Trouble is said once, not at each attempt."""
