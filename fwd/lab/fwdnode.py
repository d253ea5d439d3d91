# SPDX-License-Identifier: Apache-2.0
"""A node that runs fwd: its files, its command line, and the wait until it forwards.

The agent is started as an operator would start it: ``fwd run --static-leases``.  That it is the
code of this lab and no other fwd that happens to be installed is seen to by PYTHONPATH.
"""

import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import fwd
from fwd.lab import agentproc, netns
from fwd.lab.agentproc import Process
from fwd.lab.errors import LabError
from fwd.lab.state import StateDir
from fwd.lab.topology import PORT, VNI, Node, Topology
from fwd.lab.underlay import UPLINK

# Seconds.  A start takes under one; a machine that is busy with something else may take several.
START_LIMIT: Final = 20.0
_POLL: Final = 0.05
_LINES_SHOWN: Final = 12


class Agent:
    """One ``fwd run`` that was started; ``skip`` is where its log ended before, in bytes."""

    def __init__(self, node: Node, process: Process, *, log: Path, skip: int) -> None:
        self.node = node
        self.process = process
        self._log = log
        self._skip = skip

    def await_forwarding(self, deadline: float) -> None:
        """Wait until the agent's log says that packets flow.

        Args:
            deadline: by ``time.monotonic()``.

        Raises:
            LabError: it ended, or the time is up; ``detail`` has its last lines.
        """
        ready = re.compile(rf"(?=.*\bforwarding\b).*\bnode=\"?{re.escape(self.node.name)}\b")
        while True:
            running = agentproc.alive(self.process)  # before reading: its last words count
            lines = self._lines()
            if any(ready.search(line) for line in lines):
                return
            if not running or time.monotonic() > deadline:
                what = "does not say that it forwards" if running else "ended"
                shown = tuple(f"{self.node.name}| {line}" for line in lines[-_LINES_SHOWN:])
                why = f": {lines[-1]}" if lines else " without a word"
                raise LabError(f"fwd on {self.node.name} {what}{why}", detail=shown)
            time.sleep(_POLL)

    def _lines(self) -> list[str]:
        text = self._log.read_bytes()[self._skip :].decode(errors="replace")
        return [line for line in text.splitlines() if line.strip()]


def write_config(topology: Topology, state_dir: StateDir) -> None:
    """Write ``net-conf.json`` and the leases of all nodes; running agents re-read the latter."""
    state_dir.write(state_dir.net_conf, net_conf(topology))
    state_dir.write(state_dir.leases, {"leases": list(leases(topology))})


def net_conf(topology: Topology) -> dict[str, Any]:
    """flannel's configuration for this lab (flannel spec 2)."""
    conf: dict[str, Any] = {}
    for plan in topology.plans:
        conf["Network" if plan.family == 4 else "IPv6Network"] = str(plan.cluster)
    if topology.spec.families != (4,):
        conf["EnableIPv4"] = 4 in topology.spec.families
        conf["EnableIPv6"] = True
    return conf | {"Backend": {"Type": "vxlan", "VNI": VNI, "Port": PORT}}


def leases(topology: Topology) -> Iterator[dict[str, Any]]:
    """One entry for each node and family, as ``--static-leases`` wants them."""
    for node in topology.nodes:
        for plan in topology.plans:
            yield {
                "node": node.name,
                "subnet": str(plan.subnet(node.index)),
                "public-ip": str(plan.node(node.index).ip),
                "backend-data": {"VNI": VNI, "VtepMAC": node.mac},
            }


def start(topology: Topology, node: Node, *, state_dir: StateDir) -> Agent:
    """Start a node's agent; does not wait."""
    directory, log = state_dir.of_node(node.namespace), state_dir.log(node.namespace)
    directory.mkdir(exist_ok=True)
    log.touch()
    skip = log.stat().st_size
    argv = netns.inside(node.namespace, *command(topology, node, state_dir=state_dir))
    process = agentproc.spawn(argv, env=_environment(), log=log)
    return Agent(node, process, log=log, skip=skip)


def command(topology: Topology, node: Node, *, state_dir: StateDir) -> list[str]:
    """The agent's command line."""
    directory = state_dir.of_node(node.namespace)
    return [
        *(sys.executable, "-m", "fwd", "run"),
        *("--static-leases", str(state_dir.leases)),
        *("--node-name", node.name),
        *("--iface", UPLINK),
        *("--net-config-path", str(state_dir.net_conf)),
        *("--subnet-file", str(directory / "subnet.env")),
        *("--run-dir", str(directory)),
        *topology.spec.run_args,
    ]


def _environment() -> dict[str, str]:
    # What configures an agent of this machine (FLANNELD_*, NODE_NAME) is not meant for the lab's.
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("FLANNELD_") and name not in ("NODE_NAME", "NOTIFY_SOCKET")
    }
    package = Path(fwd.__path__[0]).resolve().parent
    search = [str(package), *filter(None, [os.environ.get("PYTHONPATH")])]
    return kept | {
        "PYTHONPATH": os.pathsep.join(search),
        "PYTHONSAFEPATH": "1",  # the caller's directory may have modules of our names
        "PYTHONUNBUFFERED": "1",
    }
