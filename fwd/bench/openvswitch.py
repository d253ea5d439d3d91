# SPDX-License-Identifier: Apache-2.0
"""Open vSwitch's userspace datapath with its VXLAN between the nodes of a lab, where installed.

On each node a database and a switch of their own.  The underlay's link and the node's address go to
one bridge, because the switch sends outer packets through a bridge that has their address; the
tunnel is a port of another one, whose own end is a device that the Pods' packets are routed to.
"""

import contextlib
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from fwd.lab import child, netns, steps
from fwd.lab.errors import LabError
from fwd.lab.topology import Node, Topology
from fwd.lab.underlay import UPLINK

_PROGRAMS: Final = ("ovsdb-tool", "ovsdb-server", "ovs-vswitchd", "ovs-vsctl")
_SCHEMA: Final = Path("/usr/share/openvswitch/vswitch.ovsschema")
_PORT: Final = 8473
_OVERHEAD: Final = {4: 50, 6: 70}
_UNDERLAY: Final = "ovsphy"
_OVERLAY: Final = "ovsint"
# Of the overlay bridges: next hops and nothing else.
_INNER: Final = {4: ("169.254.77.{}", 24), 6: ("fd77::{}", 64)}
_START_LIMIT: Final = 5.0  # seconds
_STOP_LIMIT: Final = 5.0


@contextlib.contextmanager
def between(running: Topology) -> Iterator[None]:
    """Routes between the nodes' Pod subnets through Open vSwitch.

    Raises:
        LabError: it is not installed, does not start, or refuses what is asked of it.
    """
    if any(child.find(program) is None for program in _PROGRAMS):
        raise LabError("not installed: apt-get install openvswitch-switch")
    with contextlib.ExitStack() as stack:
        one, other = running.nodes
        for node, peer in ((one, other), (other, one)):
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fwd-ovs.")))
            _start(stack, node, directory)
            _program(running, node, peer, directory)
        yield


def _start(stack: contextlib.ExitStack, node: Node, directory: Path) -> None:
    database, socket = directory / "conf.db", directory / "db.sock"
    _run("ovsdb-tool", "create", str(database), str(_SCHEMA))
    common = ["--no-chdir", "-vconsole:off", "-vsyslog:off", f"--unixctl={directory}/%s.ctl"]
    for argv in (
        ["ovsdb-server", str(database), f"--remote=punix:{socket}", *common],
        ["ovs-vswitchd", f"unix:{socket}", *common],
    ):
        argv[-1] = argv[-1].replace("%s", argv[0])
        _spawn(stack, netns.inside(node.namespace, *argv))
        _wait_for(directory / f"{argv[0]}.ctl")
    _ask(directory, "--no-wait", "init")


def _spawn(stack: contextlib.ExitStack, argv: list[str]) -> None:
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def end() -> None:
        process.terminate()
        try:
            process.wait(_STOP_LIMIT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(_STOP_LIMIT)

    stack.callback(end)


def _wait_for(path: Path) -> None:
    deadline = time.monotonic() + _START_LIMIT
    while not path.exists():
        if time.monotonic() > deadline:
            raise LabError(f"{path.stem} does not start")
        time.sleep(0.01)


def _program(running: Topology, node: Node, peer: Node, directory: Path) -> None:
    plan = running.plans[0]
    own, far = plan.node(node.index), plan.node(peer.index)
    tunnel = f"type=vxlan options:remote_ip={far.ip} options:local_ip={own.ip}"
    tunnel += f" options:key=1 options:dst_port={_PORT}"
    words = (
        f"add-br {_UNDERLAY} -- set bridge {_UNDERLAY} datapath_type=netdev"
        f" -- add-port {_UNDERLAY} {UPLINK}"
        f" -- add-br {_OVERLAY} -- set bridge {_OVERLAY} datapath_type=netdev"
        f" -- add-port {_OVERLAY} vx -- set interface vx {tunnel}"
        f" -- set interface {_OVERLAY} mtu_request={running.spec.mtu - _OVERHEAD[plan.family]}"
    )
    _ask(directory, *words.split())
    (inner, bits), nodad = _INNER[plan.family], " nodad" * (plan.family == 6)
    lines = [
        f"addr del {own} dev {UPLINK}",
        f"addr add {own} dev {_UNDERLAY}{nodad}",
        f"link set {_UNDERLAY} up",
        f"addr add {inner.format(node.index)}/{bits} dev {_OVERLAY}{nodad}",
        f"link set {_OVERLAY} up",
        f"route replace {plan.subnet(peer.index)} via {inner.format(peer.index)} dev {_OVERLAY}",
    ]
    netns.apply(node.namespace, [steps.ip(line) for line in lines])


def _ask(directory: Path, *words: str) -> None:
    _run("ovs-vsctl", f"--db=unix:{directory}/db.sock", "--timeout=10", *words)


def _run(*argv: str) -> None:
    result = child.run(argv)
    if result.code:
        raise LabError(f"{argv[0]}: {result.last_line}")
