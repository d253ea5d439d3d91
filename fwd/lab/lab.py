# SPDX-License-Identifier: Apache-2.0
"""Building a lab and taking it down: the only module that knows all the parts.

Theory of operation.  ``lab.json`` is written before the first namespace is made and says
``building`` until the last agent forwards.  So whatever finds a lab can tell what it found:

    lab.json      namespaces        up                                  down
    none          none              builds                              nothing to do
    none          some              refuses: may be somebody else's     removes them
    damaged       any               removes, builds                     removes them
    building      any               removes, builds                     removes them
    up            all               starts the agents that are gone     removes them
    up            some are missing  removes, builds                     removes them

``up`` that fails or is interrupted while it builds does what ``down`` does.  The caller holds the
directory's lock (``StateDir.locked``) around each function here.
"""

import time
from collections.abc import Callable
from typing import Final, Protocol

import msgspec
from msgspec import Struct

from fwd.lab import agentproc, fwdnode, kernelnode, netns, nodes, signals, underlay
from fwd.lab.errors import LabError
from fwd.lab.fwdnode import Agent
from fwd.lab.state import Phase, State, StateDir
from fwd.lab.topology import Node, NodeKind, Topology

Say = Callable[[str], None]

# A process may fork while its namespace is emptied; three rounds see off all but a fork bomb.
_ROUNDS: Final = 3

_LINK_LIMIT: Final = 10.0  # seconds


class DataPlane(Protocol):
    """Gives a node, wired and otherwise complete, its way to the other nodes' Pods."""

    def __call__(self, topology: Topology, node: Node, *, state_dir: StateDir) -> Agent | None:
        """Set it up; the agent to wait for, if it is one."""


class Removed(Struct, frozen=True):
    """What ``down`` found and removed."""

    processes: int
    namespaces: int


def up(topology: Topology, state_dir: StateDir, *, say: Say) -> bool:
    """Build a lab, or bring back what is missing of it.

    Args:
        topology: what there is to be.
        state_dir: where its files go.
        say: told each stage, in a few words.

    Returns:
        Whether anything had to be done.

    Raises:
        LabError: it cannot be built; nothing of it is left.
    """
    prefix = topology.spec.prefix
    if foreign := state_dir.foreign(prefix):
        raise LabError(f"{state_dir.root} holds {foreign[0]}, which is not the lab's: use another")
    left = netns.existing(prefix)
    state = state_dir.load()
    if isinstance(state, State) and state.phase is Phase.UP:
        if state.spec != topology.spec:
            differs = ", ".join(
                name
                for name in state.spec.__struct_fields__
                if getattr(state.spec, name) != getattr(topology.spec, name)
            )
            raise LabError(f"this lab is up with other {differs}: run `fwd lab down` first")
        if set(left) == set(topology.namespaces):
            return _revive(topology, state, state_dir=state_dir, say=say)
    elif state is None and left:
        raise LabError(f"namespace {left[0]} is there already: run `fwd lab down` first")
    try:
        if state is not None:
            say("removing what a failed lab has left")
            remove(prefix, state_dir)
        _build(topology, state_dir, say=say)
    except BaseException:
        with signals.shielded():
            remove(prefix, state_dir)
        raise
    return True


def remove(prefix: str, state_dir: StateDir) -> Removed:
    """Remove every process, namespace and file of a lab, whatever is left of it.

    Raises:
        LabError: something does not go away.
    """
    namespaces = netns.existing(prefix)
    state = state_dir.load()
    agents = state.agents.values() if isinstance(state, State) else ()
    processes = {process for process in agents if agentproc.alive(process)}
    paths = [netns.path(name) for name in namespaces]
    stopped = set()
    for _ in range(_ROUNDS):
        processes |= set(agentproc.inside(paths))
        if not processes:
            break
        agentproc.stop(processes)
        stopped |= processes
        processes = set()
    if namespaces:
        netns.delete(namespaces)
    state_dir.clear(prefix)
    return Removed(len(stopped), len(namespaces))


def _build(topology: Topology, state_dir: StateDir, *, say: Say) -> None:
    state = State(topology.spec, Phase.BUILDING)
    state_dir.save(state)
    say("namespaces and links")
    netns.create(topology.namespaces)
    netns.apply(topology.switch, underlay.switch(topology))
    for node in topology.nodes:
        _wire(topology, node)
    fwdnode.write_config(topology, state_dir)
    say("data planes")
    _start(topology, topology.nodes, state=state, state_dir=state_dir)


def _wire(topology: Topology, node: Node) -> None:
    """All of a node but its data plane."""
    netns.apply(node.namespace, nodes.host(topology))
    netns.apply(topology.switch, underlay.plug(topology, node))
    attach = [step for pod in node.pods for step in nodes.attach(topology, pod)]
    netns.apply(
        node.namespace,
        [*underlay.uplink(topology, node), *nodes.bridge(topology, node), *attach],
    )
    for pod in node.pods:
        netns.apply(pod.namespace, nodes.pod(topology, pod))


def _start(
    topology: Topology, chosen: tuple[Node, ...], *, state: State, state_dir: StateDir
) -> None:
    """Give nodes their data planes, all at once, and wait until each forwards."""
    agents = []
    for node in chosen:
        agent = _DATA_PLANES[node.kind](topology, node, state_dir=state_dir)
        if agent:
            agents.append(agent)
            known = state.agents | {node.name: agent.process}
            state = msgspec.structs.replace(state, agents=known)
            state_dir.save(state)
    deadline = time.monotonic() + fwdnode.START_LIMIT
    for agent in agents:
        agent.await_forwarding(deadline)
    netns.await_links(topology.namespaces, limit=_LINK_LIMIT)
    state_dir.save(msgspec.structs.replace(state, phase=Phase.UP))


def _revive(topology: Topology, state: State, *, state_dir: StateDir, say: Say) -> bool:
    """Start again the agents that have ended."""
    dead = tuple(
        node
        for node in topology.nodes
        if (process := state.agents.get(node.name)) and not agentproc.alive(process)
    )
    if dead:
        say("starting again " + ", ".join(node.name for node in dead))
        fwdnode.write_config(topology, state_dir)
        _start(topology, dead, state=state, state_dir=state_dir)
    return bool(dead)


def _kernel(topology: Topology, node: Node, *, state_dir: StateDir) -> None:  # noqa: ARG001
    steps = kernelnode.vtep(topology, node)
    peers = kernelnode.add_peers(topology, topology.peers(node))
    netns.apply(node.namespace, [*steps, *peers])


_DATA_PLANES: Final[dict[NodeKind, DataPlane]] = {
    NodeKind.FWD: fwdnode.start,
    NodeKind.KERNEL: _kernel,
}
