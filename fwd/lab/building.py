# SPDX-License-Identifier: Apache-2.0
"""The parts of a lab put up: the control plane, nodes with their Pods, data planes.

What is there and what ``lab.json`` says of it go together: see ``lab`` (the whole) and
``membership`` (one node).
"""

import time
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from fwd.lab import (
    agentproc,
    congestion,
    controlplane,
    fwdnode,
    kernelnode,
    kernelrules,
    meeting,
    netns,
    nodes,
    pods,
    underlay,
)
from fwd.lab import service as services
from fwd.lab.agentproc import Process
from fwd.lab.errors import LabError, NoVxlanError
from fwd.lab.service import Program, Service
from fwd.lab.state import State, StateDir
from fwd.lab.topology import Node, NodeKind, Topology, Wiring

_LINK_LIMIT: Final = 10.0  # seconds
_EACH_MORE: Final = 0.5  # seconds that each of many agents adds: 100 take over 20 s on two cores
# A process may fork while its namespace is emptied; three rounds see off all but a fork bomb.
_ROUNDS: Final = 3
# To a type of link that the kernel has not: today's answer, and that of kernels before 4.17.
_NO_SUCH_TYPE: Final = ("Error: Unknown device type.", "RTNETLINK answers: Operation not supported")


def switch(topology: Topology) -> None:
    """The underlay, in a namespace that is there."""
    netns.apply(topology.switch, underlay.switch(topology))


def wire(topology: Topology, node: Node, *, state_dir: StateDir) -> None:
    """All of a node that comes before its data plane, in namespaces that are there."""
    netns.apply(node.namespace, nodes.host(topology))
    netns.apply(topology.switch, underlay.plug(topology, node))
    netns.apply(node.namespace, underlay.uplink(topology, node))
    if topology.spec.wiring is Wiring.CNI:
        pods.prepare(topology, node, state_dir=state_dir)
        for pod in node.pods:
            netns.apply(pod.namespace, nodes.sandbox())
        return
    attach = [step for pod in node.pods for step in nodes.attach(topology, pod)]
    netns.apply(node.namespace, [*nodes.bridge(topology, node), *attach])
    for pod in node.pods:
        connected = [*nodes.sandbox(), *nodes.pod(topology, pod)]
        netns.apply(pod.namespace, [*connected, *congestion.steps(topology, pod)])


def control_plane(topology: Topology, *, state: State, state_dir: StateDir) -> State:
    """Start it, where the lab has one; returns the state with it, which is saved."""
    plane = controlplane.of(topology)
    if plane is None:
        return state
    started = services.start(plane.program(topology, state_dir))
    state = _with(state, {controlplane.NAME: started}, state_dir)
    started.await_ready(time.monotonic() + services.START_LIMIT)
    plane.fill(topology, state_dir=state_dir)
    return state


def data_planes(
    topology: Topology, chosen: Sequence[Node], *, state: State, state_dir: StateDir
) -> State:
    """Give nodes their data planes, all at once, and wait until each says that it forwards.

    Returns:
        The state with their agents, which is saved.
    """
    fwdnode.write_config(topology, state_dir)
    started = []
    for node in chosen:
        if program := _data_plane(topology, node, state_dir=state_dir):
            started.append(services.start(program))
            state = _with(state, {node.name: started[-1]}, state_dir)
    deadline = _deadline(len(started))
    for service in started:
        service.await_ready(deadline)
    return state


def connect(topology: Topology, chosen: Sequence[Node], *, state_dir: StateDir) -> None:
    """Connect the Pods of nodes that forward, where ``wire`` has not done it."""
    if topology.spec.wiring is Wiring.CNI:
        for node in chosen:
            pods.connect(topology, node, state_dir=state_dir)


def settle(topology: Topology, chosen: Sequence[Node], *, state_dir: StateDir) -> None:
    """Wait until all links of these nodes carry packets and all nodes know each other."""
    touched = [topology.switch, *(name for node in chosen for name in node.namespaces)]
    netns.await_links(touched, limit=_LINK_LIMIT)
    meeting.wait(topology, state_dir=state_dir, deadline=_deadline(len(topology.nodes)))


def dismantle(namespaces: Sequence[str], *, agents: Iterable[Process] = ()) -> int:
    """Remove namespaces with all processes in them, and these agents wherever they are.

    Returns:
        How many processes there were.

    Raises:
        LabError: something does not go away.
    """
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
    return len(stopped)


def _deadline(agents: int) -> float:
    """By when so many that are at it together must be done."""
    return time.monotonic() + services.START_LIMIT + _EACH_MORE * agents


def _data_plane(topology: Topology, node: Node, *, state_dir: StateDir) -> Program | None:
    """What a node's data plane is but for its agent; the agent, if it has one."""
    if node.kind is NodeKind.FWD:
        return fwdnode.program(topology, node, state_dir=state_dir)
    if not node.has_tunnel:
        netns.apply(node.namespace, kernelrules.add(topology, node))
        return None
    if not _has_link(node.namespace, kernelnode.device(topology.plans[0])):
        _add_devices(topology, node)
        netns.apply(node.namespace, kernelrules.add(topology, node))
    plane = controlplane.of(topology)
    if plane is None:
        peers = kernelnode.of_topology(topology, topology.peers(node))
        netns.apply(node.namespace, kernelnode.add_peers(peers))
        return None
    return Program(
        name=node.name,
        title=f"flannel on {node.name}",
        namespace=node.namespace,
        words=tuple(plane.kernel_agent(topology, node, state_dir=state_dir)),
        log=state_dir.log(node.namespace),
        ready=r"^programs node=",
    )


def _add_devices(topology: Topology, node: Node) -> None:
    try:
        netns.apply(node.namespace, kernelnode.vtep(topology, node))
    except LabError as error:
        if " type vxlan " in str(error) and str(error).endswith(_NO_SUCH_TYPE):
            raise NoVxlanError from error
        raise


def _has_link(namespace: str, name: str) -> bool:
    return any(link["ifname"] == name for link in netns.links(namespace))


def _with(state: State, started: dict[str, Service], state_dir: StateDir) -> State:
    agents = state.agents | {name: service.process for name, service in started.items()}
    state = msgspec.structs.replace(state, agents=agents)
    state_dir.save(state)
    return state
