# SPDX-License-Identifier: Apache-2.0
"""Whether the nodes of a lab know each other: looks and waits, changes nothing."""

import json
import time
from collections.abc import Iterable
from typing import Final

from fwd.lab import child, survey
from fwd.lab.errors import LabError
from fwd.lab.state import StateDir
from fwd.lab.topology import Node, NodeKind, Topology

_POLL: Final = 0.05  # seconds


def strangers(topology: Topology, node: Node, *, state_dir: StateDir) -> set[str]:
    """Names of the nodes that a node has no way to; all of them if it cannot be asked.

    Between a bare node and the others there is to be none.
    """
    if not node.has_tunnel:
        return set()
    known = (_kernels if node.kind is NodeKind.KERNEL else _agents)(node, state_dir)
    return {
        peer.name
        for peer in topology.peers(node)
        if peer.has_tunnel
        and not all(str(plan.subnet(peer.index)) in known for plan in topology.plans)
    }


def wait(
    topology: Topology,
    *,
    state_dir: StateDir,
    deadline: float,
    among: Iterable[Node] | None = None,
) -> None:
    """Wait until each node (of ``among``, if not all) has a way to each other one.

    Raises:
        LabError: not by the deadline, by ``time.monotonic()``.
    """
    for node in topology.nodes if among is None else among:
        while missing := strangers(topology, node, state_dir=state_dir):
            if time.monotonic() > deadline:
                raise LabError(f"{node.name} does not learn of {', '.join(sorted(missing))}")
            time.sleep(_POLL)


def _agents(node: Node, state_dir: StateDir) -> set[str]:
    said = survey.ask(state_dir.agent_socket(node.namespace)) or {}
    return {lease["subnet"] for lease in said.get("leases", ())}


def _kernels(node: Node, state_dir: StateDir) -> set[str]:  # noqa: ARG001 - as the other one
    routes: set[str] = set()
    for family in ("-4", "-6"):
        done = child.run(["ip", family, "-n", node.namespace, "-json", "route", "show"])
        if done.code == 0:
            routes |= {route["dst"] for route in json.loads(done.out or "[]")}
    return routes
