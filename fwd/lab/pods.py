# SPDX-License-Identifier: Apache-2.0
"""Pods connected as a container runtime does it: CNI plugins, by the node's own list.

The list is there only when the node's network is: an agent writes it once packets flow, and a
runtime starts no Pod before.
"""

import time
from typing import Final

from fwd.lab import conflist, congestion, netns, service
from fwd.lab.cni import Result, Runtime, Sandbox
from fwd.lab.errors import LabError
from fwd.lab.state import StateDir
from fwd.lab.topology import Node, NodeKind, Pod, Topology

_POLL: Final = 0.02  # seconds


def prepare(topology: Topology, node: Node, *, state_dir: StateDir) -> None:
    """The directory of a node's list, and the list itself where no agent writes it."""
    path = state_dir.conflist(node.namespace)
    path.parent.mkdir(parents=True, exist_ok=True)
    if node.kind is not NodeKind.FWD:
        state_dir.write(path, conflist.resolved(topology, node))


def connect(topology: Topology, node: Node, *, state_dir: StateDir) -> None:
    """ADD for each Pod of a node, once its list is there.

    Raises:
        LabError: no list, no plugins, a plugin failed, or a Pod's address is not the one planned.
    """
    path = state_dir.conflist(node.namespace)
    deadline = time.monotonic() + service.START_LIMIT
    while not path.exists():
        if time.monotonic() > deadline:
            raise LabError(f"{node.name} has no {path.name}: see {state_dir.log(node.namespace)}")
        time.sleep(_POLL)
    runtime = Runtime(node.namespace, conflist=path, var_lib=state_dir.var_lib(node.namespace))
    for pod in node.pods:
        result = runtime.add(Sandbox(pod.name, netns.path(pod.namespace)))
        _check(topology, pod, result)
        netns.apply(pod.namespace, congestion.steps(topology, pod))


def _check(topology: Topology, pod: Pod, result: Result) -> None:
    """host-local gives out a subnet's addresses one after the other, as the plan has them."""
    given = {one["address"] for one in result["ips"]}
    planned = {str(plan.pod(pod.node, pod.index)) for plan in topology.plans}
    if given != planned:
        raise LabError(
            f"{pod.name} got {', '.join(sorted(given))}, not {', '.join(sorted(planned))}"
        )
