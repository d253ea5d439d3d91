# SPDX-License-Identifier: Apache-2.0
"""flannel's configuration for a lab.  Pure."""

from typing import Any

from fwd.lab.topology import PORT, VNI, Topology


def net_conf(topology: Topology) -> dict[str, Any]:
    """What is in ``net-conf.json``, or in etcd (flannel spec 2)."""
    conf: dict[str, Any] = {}
    for plan in topology.plans:
        conf["Network" if plan.family == 4 else "IPv6Network"] = str(plan.cluster)
    if topology.spec.families != (4,):
        conf["EnableIPv4"] = 4 in topology.spec.families
        conf["EnableIPv6"] = True
    # iptables rules would need br_netfilter, which a machine may not have loaded.
    conf["EnableNFTables"] = True
    return conf | {"Backend": {"Type": "vxlan", "VNI": VNI, "Port": PORT}}
