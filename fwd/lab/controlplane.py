# SPDX-License-Identifier: Apache-2.0
"""The lab's control plane, on the switch: an API server's stand-in, or an etcd; or there is none.

With static leases agents have a file instead.  What the two have in common is that each is one
program and can tell agents of it, and nodes are registered and deleted there.
"""

from typing import Final, Protocol

from fwd.lab import etcdplane, kubeplane
from fwd.lab.service import Program
from fwd.lab.state import StateDir
from fwd.lab.topology import Node, Source, Topology

NAME: Final = "apiserver"  # among the agents of ``lab.json``


class ControlPlane(Protocol):
    """One kind of it; each is a module.

    Attributes:
        TITLE: for people.
        IS_DELETED_FIRST: whether a node is deleted before its agent ends, or after.
    """

    TITLE: str
    IS_DELETED_FIRST: bool

    def program(self, topology: Topology, state_dir: StateDir) -> Program:
        """What runs on the switch; writes the files that it and its clients need."""

    def fill(self, topology: Topology, *, state_dir: StateDir) -> None:
        """Once it runs: puts in what is to be there from the beginning."""

    def url(self, topology: Topology) -> str:
        """Where agents find it."""

    def flags(self, topology: Topology, node: Node, *, state_dir: StateDir) -> list[str]:
        """How a node's agent is told of it."""

    def kernel_agent(self, topology: Topology, node: Node, *, state_dir: StateDir) -> list[str]:
        """The command line of a kernel node's agent, from the module's name on."""

    def register(self, topology: Topology, node: Node, *, state_dir: StateDir) -> None:
        """A machine becomes a node of the cluster; its agent does not run yet."""

    def delete(self, topology: Topology, node: Node, *, state_dir: StateDir) -> float:
        """A node is no more; returns when, by ``time.monotonic()``."""

    def published_at(self, node: Node, *, since: float, state_dir: StateDir) -> float | None:
        """When a node's agent has told of it, by ``time.monotonic()``; None: not yet."""


def of(topology: Topology) -> ControlPlane | None:
    """The lab's; None: it has none."""
    return _KINDS.get(topology.spec.source)


_KINDS: Final[dict[Source, ControlPlane]] = {Source.KUBE: kubeplane, Source.ETCD: etcdplane}
