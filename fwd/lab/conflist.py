# SPDX-License-Identifier: Apache-2.0
"""flannel's CNI configuration, and what its plugin makes of it on a node without fwd.  Pure.

A node that runs fwd gets its list from its agent.  On one that has the kernel's vxlan device
flannel's plugin would resolve the `flannel` entry at each Pod's start; no distribution has that
plugin, so its answer is written down here (flannel spec 9.1).
"""

from typing import Any, Final

from fwd.lab.topology import Node, Topology

FILE_NAME: Final = "10-flannel.conflist"

_DELEGATE: Final = {"hairpinMode": True, "isDefaultGateway": True}
_PORTMAP: Final = {"type": "portmap", "capabilities": {"portMappings": True}}


def cni_conf() -> dict[str, Any]:
    """The ConfigMap's `cni-conf.json`, as in flannel's manifest."""
    return _list({"type": "flannel", "delegate": _DELEGATE})


def resolved(topology: Topology, node: Node) -> dict[str, Any]:
    """The same with the `flannel` entry resolved to its delegate for this node."""
    plans = topology.plans
    ipam = {
        "type": "host-local",
        "ranges": [[{"subnet": str(plan.subnet(node.index))}] for plan in plans],
        "routes": [{"dst": str(plan.cluster)} for plan in plans],
    }
    settings = {"ipMasq": False, "mtu": topology.pod_mtu, "isGateway": True, "ipam": ipam}
    return _list({"type": "bridge"} | _DELEGATE | settings)


def _list(first: dict[str, Any]) -> dict[str, Any]:
    return {"name": "cbr0", "cniVersion": "0.3.1", "plugins": [first, _PORTMAP]}
