# SPDX-License-Identifier: Apache-2.0
"""Nodes whose Pods are connected by CNI: the lab's nodes and agents without the lab's own wiring.

With both families, unless a test wants one.

The list of each node is its agent's, made of flannel's cni-conf.json, beside its agent's rules.
The namespaces of the lab's Pods serve as sandboxes.
"""

import contextlib
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from msgspec import Struct

from fwd.lab import lab, netns, nodes, state, steps, topology, underlay
from fwd.lab.cni import Runtime, Sandbox
from fwd.lab.familyplan import FAMILY_PLANS, IPNetwork
from fwd.lab.topology import Spec
from fwd.node import cni
from tests.netns.cni_support import SEED, host_port, require_plugins
from tests.netns.lab_support import require
from tests.netns.names import own
from tests.netns.sockets import any_like, udp_in
from tests.netns.topo import wait_until

PREFIX: Final = own("ct")
HOST_PORT: Final = 20001
OUTSIDE: Final = {family: str(plan.control.ip) for family, plan in FAMILY_PLANS.items()}
"""A host on the underlay that is no node: the switch."""


NODAD: Final = {4: "", 6: "nodad"}


class Node(Struct, frozen=True):
    """A node, its list in `conf_dir`, and one sandbox on it."""

    namespace: str
    index: int
    conf_dir: Path
    runtime: Runtime
    sandbox: str
    pod: Sandbox
    """In the sandbox, with a hostPort of HOST_PORT/udp."""

    def address(self, family: int) -> str:
        """On the underlay."""
        return str(FAMILY_PLANS[family].node(self.index).ip)

    def subnet(self, family: int) -> IPNetwork:
        """Of its Pods."""
        return FAMILY_PLANS[family].subnet(self.index)


class CniLab(Struct, frozen=True):
    """A lab that is up, with no Pod connected yet."""

    nodes: tuple[Node, ...]
    switch: str


@contextlib.contextmanager
def built(directory: Path, *, fwd: int = 3, families: tuple[int, ...] = (4, 6)) -> Iterator[CniLab]:
    """Nodes 1 to `fwd` with agents; what an earlier run left behind goes first."""
    require(fwd=True)
    require_plugins()
    source = directory / "cni-conf.json"
    source.write_text(SEED)
    # --ip-masq is in flannel's manifests.  Without it the bridge masquerades, and what comes over
    # the tunnel has the sending node's address (flannel's own way, spec 9.1).
    args = ("--ip-masq", "--iptables-resync=1", "--cni-conf", str(source))
    members = topology.node_specs(fwd=fwd, kernel=0)
    spec = Spec(prefix=PREFIX, nodes=members, families=families, run_args=args)
    plan = topology.plan(spec)
    state_dir = state.default(PREFIX)
    with state_dir.locked():
        lab.remove(PREFIX, state_dir)
        try:
            lab.up(plan, state_dir, say=lambda _: None)
            give = [
                f"addr add {one.control} dev {underlay.BRIDGE} {NODAD[one.family]}"
                for one in plan.plans
            ]
            netns.apply(plan.switch, [steps.ip(line) for line in give])
            made = [_node(node, state_dir, directory=directory) for node in plan.nodes]
            yield CniLab(tuple(made), plan.switch)
        finally:
            lab.remove(PREFIX, state_dir)


def _node(node: topology.Node, state_dir: state.StateDir, *, directory: Path) -> Node:
    (pod,) = node.pods
    unwire = (f"link del {nodes.port(pod)}", f"link del {nodes.CNI}")
    netns.apply(node.namespace, [steps.ip(line) for line in unwire])
    agents = state_dir.conflist(node.namespace)
    agents.parent.mkdir()
    wait_until(agents.exists)
    conf_dir = directory / node.name / "net.d"  # a runtime may hide /run
    conf_dir.mkdir(parents=True)
    conflist = conf_dir / cni.FILE_NAME
    shutil.copyfile(agents, conflist)
    return Node(
        namespace=node.namespace,
        index=node.index,
        conf_dir=conf_dir,
        runtime=Runtime(
            node.namespace,
            conflist=conflist,
            var_lib=directory / node.name / "var-lib",
        ),
        sandbox=pod.namespace,
        pod=Sandbox(pod.name, netns.path(pod.namespace), host_port(HOST_PORT)),
    )


def server_in(namespace: str, family: int = 4) -> socket.socket:
    """The UDP server of a Pod."""
    return udp_in(namespace, {4: "0.0.0.0", 6: "::"}[family], HOST_PORT)


def asked_from(source: str, address: str, server: socket.socket) -> str:
    """One datagram to HOST_PORT of `address`, and its answer; who the server saw asking.

    The client is connected: only an answer from the address that it asked reaches it.
    """
    with udp_in(source, any_like(address)) as client:
        client.connect((address, HOST_PORT))
        client.send(b"question")
        data, asker = server.recvfrom(100)
        assert data == b"question"
        server.sendto(b"answer", asker)
        assert client.recv(100) == b"answer"
    return str(asker[0])


def unanswered(source: str, address: str, port: int = HOST_PORT) -> None:
    """Nobody answers at this port of `address`: the node itself refuses."""
    with udp_in(source, any_like(address)) as client:
        client.connect((address, port))
        client.send(b"question")
        with pytest.raises(ConnectionRefusedError):
            client.recv(100)
