# SPDX-License-Identifier: Apache-2.0
"""What is up of a lab: namespaces, links, agents, and what each agent says of itself.

Looks and changes nothing.  How it is shown: ``report``.
"""

import json
import socket
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from fwd.lab import agentproc, controlplane, netns
from fwd.lab.errors import LabError
from fwd.lab.kernelnode import device
from fwd.lab.nodes import CNI, POD_LINK
from fwd.lab.state import Phase, State, StateDir
from fwd.lab.topology import Node, NodeKind, Pod, Topology
from fwd.lab.underlay import UPLINK

_LIMIT: Final = 2.0  # seconds for an agent to answer: it has the document ready
_LARGEST: Final = 16 << 20  # bytes; an agent with 65,536 peers says less


class LinkStatus(Struct, frozen=True):
    """A link; ``up`` is None when it is not there, ``mtu`` then 0."""

    name: str
    up: bool | None
    mtu: int


class AgentStatus(Struct, frozen=True):
    """An agent; ``said`` is its own status document, None when it gave none."""

    pid: int
    alive: bool
    said: dict[str, Any] | None

    @property
    def forwards(self) -> bool:
        """Whether it is alive and says so."""
        return self.alive and self.said is not None and self.said.get("forwarding") is True


class PodStatus(Struct, frozen=True):
    """A Pod, its addresses and its link."""

    name: str
    addresses: tuple[str, ...]
    link: LinkStatus


class NodeStatus(Struct, frozen=True):
    """A node; ``agent`` is None where none was started: bare, or a kernel with static leases."""

    name: str
    kind: NodeKind
    address: tuple[str, ...]
    links: tuple[LinkStatus, ...]
    agent: AgentStatus | None
    pods: tuple[PodStatus, ...]

    @property
    def well(self) -> bool:
        """Every link is up, and the agent, where there is to be one, forwards."""
        links = (*self.links, *(pod.link for pod in self.pods))
        if self.kind is NodeKind.FWD:
            forwards = self.agent is not None and self.agent.forwards
        else:  # it forwards by itself, if at all; its agent has nothing to say
            forwards = self.agent is None or self.agent.alive
        return forwards and all(link.up for link in links)


class ApiStatus(Struct, frozen=True):
    """The control plane; ``title`` is its kind, ``url`` is reachable from the nodes."""

    title: str
    url: str
    alive: bool


class LabStatus(Struct, frozen=True):
    """A lab; ``phase`` is how far ``up`` came, ``api`` the control plane, if it is to have one."""

    prefix: str
    phase: Phase
    mtu: int
    nodes: tuple[NodeStatus, ...]
    api: ApiStatus | None = None

    @property
    def well(self) -> bool:
        """Whether it is built and every node is well."""
        has_api = self.api is None or self.api.alive
        return self.phase is Phase.UP and has_api and all(node.well for node in self.nodes)


def status(topology: Topology, state: State, *, state_dir: StateDir) -> LabStatus:
    """Look at every node; a missing one is a node whose links are not there."""
    return LabStatus(
        prefix=topology.spec.prefix,
        phase=state.phase,
        mtu=topology.spec.mtu,
        nodes=tuple(_node(topology, node, state, state_dir) for node in topology.nodes),
        api=_api(topology, state),
    )


def ended(topology: Topology, state: State, *, state_dir: StateDir) -> list[str]:
    """Of each agent that has ended: which, how, and what it said last."""
    found = []
    for node in topology.nodes:
        process = state.agents.get(node.name)
        if process and not agentproc.alive(process):
            how, log = agentproc.how_ended(process), state_dir.log(node.namespace)
            said = log.read_text(errors="replace").strip() if log.exists() else ""
            last = said.rpartition("\n")[2] or "nothing"
            found.append(f"the agent of {node.name} has ended{how}, and last said: {last}")
    return found


def ask(path: Path) -> dict[str, Any] | None:
    """The status document of the agent that listens on this unix socket; None if there is none."""
    received = bytearray()
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as conversation:
            conversation.settimeout(_LIMIT)
            conversation.connect(str(path))
            conversation.sendall(b'{"want": "status"}\n')
            while len(received) < _LARGEST and (more := conversation.recv(65536)):
                received += more
        document = json.loads(received)
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) else None


def _node(topology: Topology, node: Node, state: State, state_dir: StateDir) -> NodeStatus:
    devices = [device(plan) for plan in topology.plans if node.has_tunnel]
    found = _links(node.namespace)
    process = state.agents.get(node.name)
    agent = None
    if process:
        said = None
        if node.kind is NodeKind.FWD:
            said = ask(state_dir.agent_socket(node.namespace))
        agent = AgentStatus(process.pid, agentproc.alive(process), said)
    return NodeStatus(
        name=node.name,
        kind=node.kind,
        address=tuple(str(plan.node(node.index).ip) for plan in topology.plans),
        links=tuple(_link(name, found) for name in (UPLINK, CNI, *devices)),
        agent=agent,
        pods=tuple(_pod(topology, pod) for pod in node.pods),
    )


def _api(topology: Topology, state: State) -> ApiStatus | None:
    plane = controlplane.of(topology)
    if plane is None:
        return None
    process = state.agents.get(controlplane.NAME)
    alive = process is not None and agentproc.alive(process)
    return ApiStatus(plane.TITLE, plane.url(topology), alive)


def _pod(topology: Topology, pod: Pod) -> PodStatus:
    addresses = (str(plan.pod(pod.node, pod.index).ip) for plan in topology.plans)
    return PodStatus(pod.name, tuple(addresses), _link(POD_LINK, _links(pod.namespace)))


def _links(namespace: str) -> list[dict[str, Any]]:
    try:
        return netns.links(namespace)
    except LabError:  # the namespace is gone: so are its links
        return []


def _link(name: str, found: list[dict[str, Any]]) -> LinkStatus:
    for link in found:
        if link["ifname"] == name:
            # A TUN has no carrier to watch: its operstate stays UNKNOWN.
            up = "UP" in link["flags"] and link["operstate"] in ("UP", "UNKNOWN")
            return LinkStatus(name, up, link["mtu"])
    return LinkStatus(name, None, 0)
