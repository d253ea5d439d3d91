# SPDX-License-Identifier: Apache-2.0
"""TCP's congestion control in Pods: cubic, where the machine has it, whatever its default is.

With bbr one measures bbr's pacing, and not the path.  A program that names cubic for its socket
after connect(2), as iperf3 does, comes too late: the socket stays paced by a timer once bbr has had
it (``sk_pacing_status``, net/ipv4/tcp_bbr.c).  A route's choice counts from the first segment on;
the parameter ``tcp_congestion_control`` of a namespace takes cubic only where the machine allows it
to everybody.  (A node's own sockets have the machine's default, and its pacing.)
"""

from pathlib import Path
from typing import Final

from fwd.lab.nodes import POD_LINK
from fwd.lab.steps import Step, ip
from fwd.lab.topology import Pod, Topology

_AVAILABLE: Final = Path("/proc/sys/net/ipv4/tcp_available_congestion_control")


def has_cubic() -> bool:
    """Whether this machine's kernel has it."""
    return "cubic" in _AVAILABLE.read_text(encoding="ascii").split()


def steps(topology: Topology, pod: Pod) -> list[Step]:
    """What a connected Pod's namespace gets on this machine."""
    return cubic(topology, pod) if has_cubic() else []


def cubic(topology: Topology, pod: Pod) -> list[Step]:
    """Routes with cubic to other nodes' Pods, in place of CNI's; pure."""
    return [
        ip(
            f"route replace {plan.cluster} via {plan.gateway(pod.node).ip} dev {POD_LINK}"
            " congctl cubic"
        )
        for plan in topology.plans
    ]
