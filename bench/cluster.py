# SPDX-License-Identifier: Apache-2.0
"""Clusters of tests/netns for a program: built, and gone in the end with all that runs in them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

from fwd.lab import agentproc, netns, signals
from tests.netns.agent_support import Cluster

Kind = TypeVar("Kind", bound=Cluster)

# A supervisor may start an agent while its node is being emptied.
_ROUNDS: Final = 3


@contextmanager
def built(made: Kind) -> Iterator[Kind]:
    """For as long as the context lasts; what a build that failed has left goes, too."""
    try:
        made.build()
        yield made
    finally:
        with signals.shielded():
            try:
                _empty(made)
            finally:
                made.remove()


def _empty(made: Cluster) -> None:
    """End what runs on the nodes that there are: supervisors' agents the cluster does not know."""
    nodes = [getattr(made, name) for name in ("n1", "n2") if hasattr(made, name)]
    paths = [netns.path(node.name) for node in nodes]
    for _ in range(_ROUNDS):
        agentproc.stop(agentproc.inside(paths), grace=0)
