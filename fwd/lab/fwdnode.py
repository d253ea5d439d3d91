# SPDX-License-Identifier: Apache-2.0
"""A node that runs fwd: its files and its command line, as an operator would start it."""

import re
from collections.abc import Iterator
from typing import Any

from fwd.lab import conflist, controlplane
from fwd.lab.netconf import net_conf
from fwd.lab.service import Program
from fwd.lab.state import StateDir
from fwd.lab.topology import VNI, Node, Source, Topology, Wiring
from fwd.lab.underlay import UPLINK


def write_config(topology: Topology, state_dir: StateDir) -> None:
    """Write what agents of all nodes read: flannel's two files, and the file of static leases."""
    state_dir.write(state_dir.net_conf, net_conf(topology))
    if topology.spec.wiring is Wiring.CNI:
        state_dir.write(state_dir.cni_conf, conflist.cni_conf())
    if topology.spec.source is Source.STATIC:
        state_dir.write(state_dir.leases, {"leases": list(leases(topology))})


def leases(topology: Topology) -> Iterator[dict[str, Any]]:
    """One entry for each node with a tunnel and family, as ``--static-leases`` wants them."""
    for node in filter(lambda node: node.has_tunnel, topology.nodes):
        for plan in topology.plans:
            yield {
                "node": node.name,
                "subnet": str(plan.subnet(node.index)),
                "public-ip": str(plan.node(node.index).ip),
                "backend-data": {"VNI": VNI, "VtepMAC": node.mac},
            }


def program(topology: Topology, node: Node, *, state_dir: StateDir) -> Program:
    """A node's agent."""
    return Program(
        name=node.name,
        title=f"fwd on {node.name}",
        namespace=node.namespace,
        words=tuple(command(topology, node, state_dir=state_dir)),
        log=state_dir.log(node.namespace),
        # In either form of its log: node=n1, or "node": "n1".
        ready=rf'(?=.*\bforwarding\b).*\bnode(=|": )"?{re.escape(node.name)}\b',
    )


def command(topology: Topology, node: Node, *, state_dir: StateDir) -> list[str]:
    """The agent's command line, from the program's name on."""
    directory = state_dir.of_node(node.namespace)
    plane = controlplane.of(topology)
    if plane is None:
        source = ["--static-leases", str(state_dir.leases)]
    else:
        source = plane.flags(topology, node, state_dir=state_dir)
    cni = []
    if topology.spec.wiring is Wiring.CNI:
        # As in flannel's manifests, and so that the plugins do not masquerade what Pods send.
        cni = ["--ip-masq", "--cni-conf", str(state_dir.cni_conf)]
    return [
        *("fwd", "run"),
        *source,
        *("--node-name", node.name),
        *("--iface", UPLINK),
        *("--net-config-path", str(state_dir.net_conf)),
        *("--subnet-file", str(directory / "subnet.env")),
        *("--run-dir", str(directory)),
        *("--cni-conf-dir", str(state_dir.conflist(node.namespace).parent)),
        *cni,
        *topology.spec.run_args,
    ]
