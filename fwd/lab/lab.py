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
    up, no API    all               removes, builds: the API server had the Nodes in its memory
    up            some are missing  removes, builds                     removes them

``up`` that fails or is interrupted while it builds does what ``down`` does.  The caller holds the
directory's lock (``StateDir.locked``) around each function here.
"""

from collections.abc import Callable

import msgspec
from msgspec import Struct

from fwd.lab import agentproc, building, controlplane, netns, signals, topology
from fwd.lab.errors import LabError
from fwd.lab.state import Damaged, Phase, State, StateDir
from fwd.lab.topology import Spec, Topology

Say = Callable[[str], None]


class Removed(Struct, frozen=True):
    """What ``down`` found and removed."""

    processes: int
    namespaces: int


def up(wanted: Topology, state_dir: StateDir, *, say: Say) -> Topology | None:
    """Build a lab, or bring back what is missing of it.

    Args:
        wanted: what there is to be.
        state_dir: where its files go.
        say: told each stage, in a few words.

    Returns:
        What there is now, which differs from what is wanted by nodes that joined or left since it
        was built; None if nothing had to be done.

    Raises:
        LabError: it cannot be built; nothing of it is left.
    """
    prefix = wanted.spec.prefix
    refuse_others(prefix, state_dir)
    left = netns.existing(prefix)
    state = state_dir.load()
    if isinstance(state, State) and state.phase is Phase.UP:
        if state.asked != wanted.spec:
            differs = ", ".join(_differences(state.asked, wanted.spec))
            raise LabError(f"this lab is up with other {differs}: run `fwd lab down` first")
        there = topology.plan(state.spec)
        if set(left) == set(there.namespaces) and _has_api(state):
            return there if _revive(there, state, state_dir=state_dir, say=say) else None
    elif state is None and left:
        raise LabError(f"namespace {left[0]} is there already: run `fwd lab down` first")
    try:
        if state is not None:
            say("removing what a failed lab has left")
            remove(prefix, state_dir)
        _build(wanted, state_dir, say=say)
    except BaseException:
        with signals.shielded():
            remove(prefix, state_dir)
        raise
    return wanted


def refuse_others(prefix: str, state_dir: StateDir) -> None:
    """Raise ``LabError`` if a directory has what is not of the lab of this prefix."""
    _refuse_another_lab(prefix, state_dir)
    if foreign := state_dir.foreign(prefix):
        raise LabError(f"{state_dir.root} holds {foreign[0]}, which is not the lab's: use another")


def remove(prefix: str, state_dir: StateDir) -> Removed:
    """Remove every process, namespace and file of a lab, whatever is left of it.

    Raises:
        LabError: something does not go away, or the directory is another lab's.
    """
    state = _refuse_another_lab(prefix, state_dir)
    namespaces = netns.existing(prefix)
    agents = state.agents.values() if isinstance(state, State) else ()
    stopped = building.dismantle(namespaces, agents=agents)
    state_dir.clear(prefix)
    return Removed(stopped, len(namespaces))


def _build(wanted: Topology, state_dir: StateDir, *, say: Say) -> None:
    state = State(wanted.spec, Phase.BUILDING)
    state_dir.save(state)
    say("namespaces and links")
    netns.create(wanted.namespaces)
    building.switch(wanted)
    state = building.control_plane(wanted, state=state, state_dir=state_dir)
    for node in wanted.nodes:
        building.wire(wanted, node, state_dir=state_dir)
    say("data planes")
    state = building.data_planes(wanted, wanted.nodes, state=state, state_dir=state_dir)
    say("Pods")
    building.connect(wanted, wanted.nodes, state_dir=state_dir)
    building.settle(wanted, wanted.nodes, state_dir=state_dir)
    state_dir.save(msgspec.structs.replace(state, phase=Phase.UP))


def _refuse_another_lab(prefix: str, state_dir: StateDir) -> State | Damaged | None:
    """What is written down, if it is not of a lab of another prefix."""
    state = state_dir.load()
    if isinstance(state, State) and state.spec.prefix != prefix:
        raise LabError(f"{state_dir.root} belongs to lab {state.spec.prefix}")
    return state


def _has_api(state: State) -> bool:
    """Whether the API server runs, if there is to be one."""
    process = state.agents.get(controlplane.NAME)
    return process is None or agentproc.alive(process)


def _revive(there: Topology, state: State, *, state_dir: StateDir, say: Say) -> bool:
    """Start again the agents that have ended."""
    dead = tuple(
        node
        for node in there.nodes
        if (process := state.agents.get(node.name)) and not agentproc.alive(process)
    )
    if dead:
        say("starting again " + ", ".join(node.name for node in dead))
        building.data_planes(there, dead, state=state, state_dir=state_dir)
        building.settle(there, dead, state_dir=state_dir)
    return bool(dead)


def _differences(one: Spec, other: Spec) -> list[str]:
    names = one.__struct_fields__
    return [name for name in names if getattr(one, name) != getattr(other, name)]
