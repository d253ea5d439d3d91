# SPDX-License-Identifier: Apache-2.0
"""A node joins a lab that is up, or leaves it; the others stay as they are.

With leases from a control plane the others learn of it from there, as in a real cluster.  With
static leases the lab tells them: the file that agents re-read, and the kernel nodes' entries.

``lab.json`` has the new node before the first of its namespaces is there, and the old one until
the last is gone, so that whoever comes after a command that was killed finds no less than there is.
The caller holds the directory's lock.
"""

import contextlib
import time
from collections.abc import Callable, Iterable

import msgspec

from fwd.lab import building, controlplane, fwdnode, kernelnode, netns, signals, topology
from fwd.lab.errors import LabError
from fwd.lab.state import State, StateDir
from fwd.lab.steps import Step
from fwd.lab.topology import Node, NodeKind, Spec, Topology


def join(
    state: State,
    *,
    name: str | None,
    kind: NodeKind,
    state_dir: StateDir,
    begun: Callable[[Node], None] | None = None,
) -> tuple[Topology, Node]:
    """Add a node and wait until all nodes forward to each other.

    Args:
        state: what ``lab.json`` says.
        name: of the new node; None for the lowest one that is free.
        kind: its data plane.
        state_dir: the lab's files.
        begun: called before its data plane starts.

    Returns:
        The lab as it is now, and the new node.

    Raises:
        LabError: there is no room for it, or it does not forward; the lab is as before.
    """
    before = topology.plan(state.spec)
    after, node = _joined(before, name, kind)
    try:
        now = _changed(state, after.spec)
        state_dir.save(now)
        netns.create(node.namespaces)
        building.wire(after, node, state_dir=state_dir)
        if begun:
            begun(node)
        if plane := controlplane.of(after):
            plane.register(after, node, state_dir=state_dir)
        else:
            _tell_kernels(before, kernelnode.add_peers(kernelnode.of_topology(after, [node])))
        building.data_planes(after, [node], state=now, state_dir=state_dir)
        building.connect(after, [node], state_dir=state_dir)
        building.settle(after, [node], state_dir=state_dir)
    except BaseException:
        with signals.shielded():
            with contextlib.suppress(LabError):  # the control plane may be what is missing
                _end(before, node, state_dir=state_dir)
            building.dismantle(node.namespaces)
            state_dir.forget(node.namespace)
            state_dir.save(state)
        raise
    return after, node


def leave(state: State, *, name: str, state_dir: StateDir) -> float:
    """Remove a node: first the others hear of it, then it is gone.

    Returns:
        When it was deleted, by ``time.monotonic()``.

    Raises:
        LabError: there is no such node, or no other.
    """
    before = topology.plan(state.spec)
    node = before.node(name)
    if node is None:
        known = ", ".join(node.name for node in before.nodes)
        raise LabError(f"no node {name!r}: there are {known}")
    after = _plan(topology.without_node(before.spec, name))
    when = _end(after, node, state_dir=state_dir)
    state_dir.forget(node.namespace)
    agents = {other: process for other, process in state.agents.items() if other != name}
    state_dir.save(msgspec.structs.replace(_changed(state, after.spec), agents=agents))
    return when


def _joined(before: Topology, name: str | None, kind: NodeKind) -> tuple[Topology, Node]:
    try:
        after = topology.plan(topology.with_node(before.spec, name, kind))
    except ValueError as error:
        raise LabError(str(error)) from error
    [node] = (node for node in after.nodes if before.node(node.name) is None)
    return after, node


def _plan(spec: Spec) -> Topology:
    try:
        return topology.plan(spec)
    except ValueError as error:
        raise LabError(f"the last node cannot leave: {error}") from error


def _changed(state: State, spec: Spec) -> State:
    return msgspec.structs.replace(state, spec=spec, built_as=state.asked)


def _end(left: Topology, node: Node, *, state_dir: StateDir) -> float:
    """A node is gone, and the others are told; returns when they were."""
    plane = controlplane.of(left)
    if plane is not None and not plane.IS_DELETED_FIRST:
        building.dismantle(node.namespaces)
    when = _withdraw(left, node, state_dir=state_dir)
    building.dismantle(node.namespaces)
    return when


def _withdraw(left: Topology, node: Node, *, state_dir: StateDir) -> float:
    """Take a node out of what the others go by; returns when."""
    if plane := controlplane.of(left):
        return plane.delete(left, node, state_dir=state_dir)
    when = time.monotonic()
    fwdnode.write_config(left, state_dir)
    for peer in kernelnode.of_topology(left, [node]):
        for step in kernelnode.remove_peer(peer):
            with contextlib.suppress(LabError):  # of one that never came so far
                _tell_kernels(left, [step])
    return when


def _tell_kernels(lab: Topology, steps: Iterable[Step]) -> None:
    steps = tuple(steps)
    for node in lab.nodes:
        if node.kind is NodeKind.KERNEL:
            netns.apply(node.namespace, steps)
