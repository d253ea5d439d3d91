# SPDX-License-Identifier: Apache-2.0
"""What every source of leases promises the agent.

A source speaks of the cluster in whole snapshots.  One that watches (an API server, etcd) keeps its
own table, lists, marks the list complete, and from then on yields the table again after each batch
of changes; a lost watch begins again with a list and ends in a snapshot like any other.  What
changed is found by value in `core.leases`, so no event can be missed for good and none has to be
undone.  Whether the leases fit together is decided there too, not here.

The other way, a source takes this node's own lease to the cluster, if there is anyone to tell.
"""

from collections.abc import AsyncIterator
from types import TracebackType
from typing import Protocol, Self

from fwd.model import Lease, Snapshot, SourceState, Trouble


class LeaseSource(Protocol):
    """Leases of the cluster, this node's own one included.  It works while it is entered."""

    all_or_nothing: bool
    """Whether leases that contradict each other refuse the whole snapshot, or each other only."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    async def first(self) -> Snapshot:
        """The leases to start with; not needed by one who has some already.

        Waits for what comes by waiting; raises ConfigError for what does not.
        """

    def changes(self) -> AsyncIterator[Snapshot | Trouble]:
        """What follows, for ever.  Trouble is said once, not at each attempt."""

    def announce(self, leases: tuple[Lease, ...]) -> None:
        """Publishes this node's leases, one a family, and keeps them published: packets flow.

        Returns at once; a source that cannot publish now does it when it can.
        """

    def reconnect(self) -> None:
        """This node has another address: what is connected from the old one hears nothing more."""

    def ready(self) -> None:
        """The data path stands: Pods may be placed on this node."""

    def state(self) -> SourceState:
        """How it stands at this moment."""
