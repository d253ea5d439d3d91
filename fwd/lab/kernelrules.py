# SPDX-License-Identifier: Apache-2.0
"""flannel's firewall rules on a node with the kernel's vxlan device, through nft.  Pure.

Written against the flannel spec 7.3.  They are fwd's, too, on a node of its own: with those that
masquerade a node tracks every connection, the tunnel's included.
"""

from fwd.lab.familyplan import FamilyPlan
from fwd.lab.steps import Step, nft
from fwd.lab.topology import Node, Topology, Wiring

_MULTICAST = {4: "224.0.0.0/4", 6: "ff00::/8"}


def add(topology: Topology, node: Node) -> list[Step]:
    """Both tables, and what is in those of the lab's families, but for comments.

    Like fwd's nodes this one masquerades where CNI plugins connect Pods, as in flannel's manifests.
    """
    steps = [nft(f"add table {_name(family)}") for family in (4, 6)]
    for plan in topology.plans:
        if topology.spec.wiring is Wiring.CNI:
            steps += _masquerade(plan, node)
        steps += _forward(plan)
    return steps


def _name(family: int) -> str:
    return f"{_keyword(family)} flannel-ipv{family}"


def _keyword(family: int) -> str:
    return "ip" if family == 4 else "ip6"


def _masquerade(plan: FamilyPlan, node: Node) -> list[Step]:
    ip, network, subnet = _keyword(plan.family), plan.cluster, plan.subnet(node.index)
    return _chain(
        plan.family,
        "postrtg",
        "type nat hook postrouting priority srcnat; policy accept;",
        [
            "meta mark 0x00004000 return",  # kube-proxy's: masqueraded already
            f"{ip} saddr {subnet} {ip} daddr {network} return",
            f"{ip} saddr {network} {ip} daddr {subnet} return",
            f"{ip} saddr != {subnet} {ip} daddr {network} return",
            f"{ip} saddr {network} {ip} daddr != {_MULTICAST[plan.family]} masquerade fully-random",
            f"{ip} saddr != {network} {ip} daddr {network} masquerade fully-random",
        ],
    )


def _forward(plan: FamilyPlan) -> list[Step]:
    ip = _keyword(plan.family)
    return _chain(
        plan.family,
        "forward",
        "type filter hook forward priority filter; policy accept;",
        [f"{ip} {field} {plan.cluster} accept" for field in ("saddr", "daddr")],
    )


def _chain(family: int, name: str, base: str, rules: list[str]) -> list[Step]:
    chain = f"{_name(family)} {name}"
    return [
        nft(f"add chain {chain} {{ {base} }}"),
        *(nft(f"add rule {chain} {rule}") for rule in rules),
    ]
