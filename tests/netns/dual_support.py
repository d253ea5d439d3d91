# SPDX-License-Identifier: Apache-2.0
"""Two nodes with both families on, for tests after which the agents go on."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.netns.agent_support import Agent, Cluster

Dual = tuple[Cluster, Agent]


@contextmanager
def forwarding(directory: Path) -> Iterator[Dual]:
    """The nodes, and the agent of the first."""
    made = Cluster(directory, families=(4, 6))
    try:
        made.build()
        agents = [made.start(name) for name in ("n1", "n2")]
        for agent in agents:
            agent.says("host-ready")
        yield made, agents[0]
    finally:
        made.remove()
