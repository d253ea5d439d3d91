# SPDX-License-Identifier: Apache-2.0
"""The lab's API server: its stand-in, on the switch, and what goes on in it.

It listens on the underlay with TLS, and has one token, flannel's; commands go over its unix socket.
What it serves and how: ``apiserver``.
"""

import time
from typing import Any, Final

import msgspec

from fwd.lab import nodeobject
from fwd.lab.apiserver import commands as cmd
from fwd.lab.apiserver import credentials
from fwd.lab.apiserver.client import ask
from fwd.lab.apiserver.credentials import Certificate
from fwd.lab.service import Program
from fwd.lab.state import StateDir
from fwd.lab.topology import Node, Topology

TITLE: Final = "API server"
PORT: Final = 6443
IS_DELETED_FIRST: Final = True  # agents do not write into a Node that is gone
_TOKEN: Final = "lab-token"  # noqa: S105 - opens nothing but a stand-in
_PATCH: Final = ("patch", "nodes/status")


def program(topology: Topology, state_dir: StateDir) -> Program:
    """The stand-in, with all nodes of the lab; writes the files that it and its clients need."""
    directory = state_dir.api
    directory.mkdir(exist_ok=True)
    made = credentials.certify(directory, [topology.control_address])
    state_dir.token.write_text(_TOKEN, encoding="ascii")
    credentials.write_kubeconfig(
        state_dir.kubeconfig,
        url=url(topology),
        token_file=state_dir.token,
        ca=state_dir.authority,
    )
    nodes = [nodeobject.fresh(topology, node) for node in topology.nodes]
    state_dir.write(directory / "nodes.json", {"kind": "NodeList", "items": nodes})
    return Program(
        name=TITLE,
        title="the API server's stand-in",
        namespace=topology.switch,
        words=tuple(_command(_where(topology), made, state_dir)),
        log=directory / "server.log",
        ready=r"^serving \d+ nodes at ",
    )


def url(topology: Topology) -> str:
    """Where agents find it."""
    return f"https://{_where(topology)}"


def _where(topology: Topology) -> str:
    host = topology.control_address
    return f"[{host}]:{PORT}" if ":" in host else f"{host}:{PORT}"


def flags(topology: Topology, node: Node, *, state_dir: StateDir) -> list[str]:  # noqa: ARG001
    """How a node's agent is told of it."""
    return ["--kube-subnet-mgr", "--kubeconfig-file", str(state_dir.kubeconfig)]


def kernel_agent(topology: Topology, node: Node, *, state_dir: StateDir) -> list[str]:
    """The command line of a kernel node's agent, from the module's name on."""
    marks = msgspec.json.encode(nodeobject.published(topology, node)).decode()
    return [
        "fwd.lab.kernelagent",
        *("--url", url(topology)),
        *("--ca", str(state_dir.authority)),
        *("--token", str(state_dir.token)),
        *("--node", node.name),
        *("--namespace", node.namespace),
        *("--marks", marks),
        *(word for plan in topology.plans for word in ("--family", str(plan.family))),
    ]


def fill(topology: Topology, *, state_dir: StateDir) -> None:
    """It has begun with all there is to be in it."""


def _command(where: str, made: Certificate, state_dir: StateDir) -> list[str]:
    return [
        "fwd.lab.apiserver",
        *("--listen", where),
        *("--tls", str(made.certificate), str(made.key)),
        *("--token", _TOKEN),
        *("--control", str(state_dir.api_socket)),
        *("--state", str(state_dir.api / "nodes.json")),
    ]


def register(topology: Topology, node: Node, *, state_dir: StateDir) -> None:
    """A machine becomes a Node: its kubelet registers it, the controller manager gives it Pods."""
    ask(state_dir.api_socket, cmd.PutNodes([nodeobject.fresh(topology, node)]))


def delete(topology: Topology, node: Node, *, state_dir: StateDir) -> float:  # noqa: ARG001
    """Delete a Node, as `kubectl delete node` does.

    Returns:
        When, by ``time.monotonic()``: before anybody could know.
    """
    when = time.monotonic()
    ask(state_dir.api_socket, cmd.DeleteNode(node.name))
    return when


def published_at(node: Node, *, since: float, state_dir: StateDir) -> float | None:
    """When a node's annotations were written, by ``time.monotonic()``, as the API server saw it.

    That is when the first patch came that has them, after ``since``, so a little before they were
    in; None as long as none has.
    """
    for seen in ask(state_dir.api_socket, cmd.Requests()):
        when: float = seen["at"]
        is_meant = (seen["verb"], seen["resource"], seen["name"]) == (*_PATCH, node.name)
        if is_meant and when >= since and seen["status"] == 200 and _annotates(seen["body"]):
            return when
    return None


def _annotates(body: str) -> bool:
    # The control socket's JSON has bytes in base64.
    patch: Any = msgspec.json.decode(msgspec.json.decode(f'"{body}"', type=bytes))
    return bool(patch.get("metadata", {}).get("annotations"))
