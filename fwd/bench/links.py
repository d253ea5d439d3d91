# SPDX-License-Identifier: Apache-2.0
"""What the underlay's links do for packets, switched with ethtool.

A veth does everything that is asked of it, by leaving it undone: nothing is ever cut.  A real link
cuts to the MTU, in its network card if that knows how, else in software.
"""

import re
from typing import Final

from fwd.lab import child, netns
from fwd.lab.errors import LabError
from fwd.lab.topology import Topology
from fwd.lab.underlay import UPLINK

# What cuts TCP, with and without a tunnel around it.
_TCP: Final = ("tso", "gso", "tx-udp_tnl-segmentation", "tx-udp_tnl-csum-segmentation")
_UDP: Final = ("tx-udp-segmentation",)
OFFLOADS: Final = (*_TCP, *_UDP)

ON: Final = "on"
STATES: Final = {ON: (), "uso": _TCP, "off": OFFLOADS}
"""What is switched off.  ``uso``: as a card that cuts UDP and knows no tunnels."""

_LONG: Final = {"tso": "tcp-segmentation-offload", "gso": "generic-segmentation-offload"}


def switch(topology: Topology, state: str) -> None:
    """Put the nodes' links into a state.

    Raises:
        LabError: ethtool cannot.
    """
    off = STATES[state]
    words = [word for name in OFFLOADS for word in (name, "off" if name in off else "on")]
    for node in topology.nodes:
        result = child.run(netns.inside(node.namespace, "ethtool", "-K", UPLINK, *words))
        if result.code:
            raise LabError(f"ethtool in {node.namespace}: {result.last_line}")


def shown(topology: Topology) -> dict[str, str]:
    """``OFFLOADS`` as ethtool shows them: on, off or none."""
    node = topology.nodes[0]
    text = child.run(netns.inside(node.namespace, "ethtool", "-k", UPLINK)).out
    found = dict(re.findall(r"^\s*([\w-]+): (on|off)", text, re.MULTILINE))
    return {name: found.get(_LONG.get(name, name), "none") for name in OFFLOADS}
