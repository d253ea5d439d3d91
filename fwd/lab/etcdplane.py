# SPDX-License-Identifier: Apache-2.0
"""The lab's etcd: a real one, of one member, on the switch, and flannel's network in it.

Agents take a subnet by themselves, but a lab's addresses follow from its plan.  So each begins with
a ``subnet.env`` as of an earlier start: what such a node had it takes again, if it is free.
"""

import calendar
import re
import sys
import time
from ipaddress import IPv4Network
from typing import Final

import msgspec

from fwd.lab import child, netns, service
from fwd.lab.errors import LabError
from fwd.lab.etcdclient import PREFIX, SUBNETS
from fwd.lab.netconf import net_conf
from fwd.lab.service import Program
from fwd.lab.state import StateDir
from fwd.lab.topology import VNI, Node, Topology

TITLE: Final = "etcd"
IS_DELETED_FIRST: Final = False  # an agent puts its key back
_PORT: Final = 2379
_PEER_PORT: Final = 2380

# In either form of an agent's log: event=lease-published, or "event": "lease-published".
_PUBLISHED: Final = re.compile(r'time(?:=|": ")(\S+)\.(\d{3})Z.*\bevent(?:=|": ")lease-published\b')


def program(topology: Topology, state_dir: StateDir) -> Program:
    """etcd, with an empty store."""
    child.require("etcd")
    directory = state_dir.api
    directory.mkdir(exist_ok=True)
    at = url(topology)
    peer = at.removesuffix(str(_PORT)) + str(_PEER_PORT)
    words = (
        *("--name", "lab", "--data-dir", str(directory / "data"), "--logger", "zap"),
        *("--listen-client-urls", at, "--advertise-client-urls", at),
        *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
        *("--initial-cluster", f"lab={peer}"),
    )
    return Program(
        name=TITLE,
        title="etcd",
        namespace=topology.switch,
        words=words,
        log=directory / "etcd.log",
        ready="serving client traffic",
        binary="etcd",
    )


def fill(topology: Topology, *, state_dir: StateDir) -> None:  # noqa: ARG001
    """The network's configuration."""
    text = msgspec.json.encode(net_conf(topology)).decode()
    do(topology, "put", f"{PREFIX}/config", text)


def url(topology: Topology) -> str:
    """Where agents find it."""
    host = topology.control_address
    return f"http://[{host}]:{_PORT}" if ":" in host else f"http://{host}:{_PORT}"


def flags(topology: Topology, node: Node, *, state_dir: StateDir) -> list[str]:
    """How a node's agent is told of it; and what it had, if this is its first start."""
    before = state_dir.of_node(node.namespace) / "subnet.env"
    before.parent.mkdir(exist_ok=True)
    if not before.exists():
        before.write_text(_subnet_env(topology, node), encoding="ascii")
    return ["--etcd-endpoints", url(topology)]


def kernel_agent(topology: Topology, node: Node, *, state_dir: StateDir) -> list[str]:  # noqa: ARG001
    """The command line of a kernel node's agent, from the module's name on."""
    return [
        "fwd.lab.kerneletcd",
        *("--url", url(topology)),
        *("--node", node.name),
        *("--namespace", node.namespace),
        *("--key", key(topology, node)),
        *("--value", value(topology, node)),
    ]


def register(topology: Topology, node: Node, *, state_dir: StateDir) -> None:
    """Agents register their nodes themselves."""


def delete(topology: Topology, node: Node, *, state_dir: StateDir) -> float:  # noqa: ARG001
    """Delete a node's lease, as an operator does who does not wait for its end."""
    return do(topology, "del", SUBNETS + key(topology, node))


def published_at(node: Node, *, since: float, state_dir: StateDir) -> float | None:
    """When a node that runs fwd has written its lease, by its own log; None: not yet."""
    offset = time.time() - time.monotonic()
    log = state_dir.log(node.namespace).read_text(encoding="utf-8", errors="replace")
    for found in _PUBLISHED.finditer(log):
        seconds = calendar.timegm(time.strptime(found[1], "%Y-%m-%dT%H:%M:%S"))
        when = seconds + int(found[2]) / 1000 - offset
        if when >= since:
            return when
    return None


def key(topology: Topology, node: Node) -> str:
    """The key of a node's lease, without prefix (flannel spec 4.1)."""
    subnets = {plan.family: plan.subnet(node.index) for plan in topology.plans}
    words = [subnets.get(4, IPv4Network("0.0.0.0/0"))]
    words += [subnets[6]] if 6 in subnets else []
    return "&".join(str(word).replace("/", "-") for word in words)


def value(topology: Topology, node: Node) -> str:
    """The value of a kernel node's lease, in flannel's text."""
    found = {plan.family: str(plan.node(node.index).ip) for plan in topology.plans}
    data = f'{{"VNI":{VNI},"VtepMAC":"{node.mac}"}}'
    words = [
        f'"PublicIP":"{found.get(4, "0.0.0.0")}"',  # noqa: S104 - no address
        '"PublicIPv6":' + (f'"{found[6]}"' if 6 in found else "null"),
        '"BackendType":"vxlan"',
        *([f'"BackendData":{data}'] if 4 in found else []),
        *([f'"BackendV6Data":{data}'] if 6 in found else []),
    ]
    return "{" + ",".join(words) + "}"


def _subnet_env(topology: Topology, node: Node) -> str:
    lines = []
    for plan in topology.plans:
        name = "FLANNEL" if plan.family == 4 else "FLANNEL_IPV6"
        subnet = plan.subnet(node.index)
        lines.append(f"{name}_NETWORK={plan.cluster}")
        lines.append(f"{name}_SUBNET={subnet[1]}/{subnet.prefixlen}")
    return "\n".join([*lines, f"FLANNEL_MTU={topology.pod_mtu}", "FLANNEL_IPMASQ=false", ""])


def do(topology: Topology, *words: str) -> float:
    """One command of ``etcdclient``, where etcd can be reached; returns when it was given."""
    search = f"PYTHONPATH={service.environment()['PYTHONPATH']}"
    argv = ["env", search, sys.executable, "-m", "fwd.lab.etcdclient", url(topology), *words]
    done = child.run(netns.inside(topology.switch, *argv))
    if done.code != 0:
        raise LabError(f"etcd: {words[0]} {words[1]}: {done.last_line}")
    return float(done.out)
