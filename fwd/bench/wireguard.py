# SPDX-License-Identifier: Apache-2.0
"""wireguard-go between the nodes of a lab: the userspace tunnel that many know, where installed.

It encrypts, which VXLAN does not, and its packets hold 10 bytes less.  Its processes run in the
nodes' namespaces and end with these.
"""

import contextlib
from collections.abc import Iterator
from typing import Final

from fwd.lab import child, netns, steps
from fwd.lab.errors import LabError
from fwd.lab.topology import Node, Topology

_PROGRAMS: Final = {"wireguard-go": "wireguard-go", "wg": "wireguard-tools"}  # and their packages
_PORT: Final = 51820
_OVERHEAD: Final = {4: 60, 6: 80}  # IP, UDP, header and tag


@contextlib.contextmanager
def between(running: Topology) -> Iterator[None]:
    """Routes between the nodes' Pod subnets through a WireGuard device on each.

    Raises:
        LabError: it is not installed, or does not start.
    """
    missing = [package for program, package in _PROGRAMS.items() if child.find(program) is None]
    if missing:
        raise LabError(f"not installed: apt-get install {' '.join(missing)}")
    private = {node.index: _run("wg", "genkey") for node in running.nodes}
    public = {index: _run("wg", "pubkey", stdin=key) for index, key in private.items()}
    for node in running.nodes:
        device = _device(running, node)
        _run(*netns.inside(node.namespace, "wireguard-go", device))
        own = ["listen-port", str(_PORT), "private-key", "/dev/stdin"]
        _run(*netns.inside(node.namespace, "wg", "set", device, *own), stdin=private[node.index])
        for peer in running.nodes:
            if peer.index != node.index:
                _add_peer(running, node, peer, key=public[peer.index])
    yield


def _add_peer(running: Topology, node: Node, peer: Node, *, key: str) -> None:
    plan, device = running.plans[0], _device(running, node)
    subnet, mtu = plan.subnet(peer.index), running.spec.mtu - _OVERHEAD[plan.family]
    words = ["peer", key, "endpoint", f"{plan.node(peer.index).ip}:{_PORT}"]
    words += ["allowed-ips", str(subnet)]
    _run(*netns.inside(node.namespace, "wg", "set", device, *words))
    lines = [f"link set {device} mtu {mtu} up", f"route replace {subnet} dev {device}"]
    netns.apply(node.namespace, [steps.ip(line) for line in lines])


def _device(running: Topology, node: Node) -> str:
    """Of another name on each node of each bench: control sockets are named after it.

    These are in /run/wireguard, which is the machine's.  Prefixes have no dash, so names that are
    alike are of one prefix; with the longest one (``arguments.MAX_PREFIX``) and a contender's
    letter before it there is room for any index in the 15 letters that a link's name has.
    """
    return f"{running.spec.prefix}-{node.index}"


def _run(*argv: str, stdin: str = "") -> str:
    result = child.run(argv, stdin=stdin)
    if result.code:
        raise LabError(f"{argv[0]}: {result.last_line}")
    return result.out.strip()
