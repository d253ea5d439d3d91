# SPDX-License-Identifier: Apache-2.0
"""A node whose agent is asked for all that it can keep on its host."""

import json
import os
import subprocess
import sys
from typing import Any, Final

from tests.netns.agent_support import FACTS, Agent, Cluster
from tests.netns.rules_support import Node

CONF: Final = {
    "name": "cbr0",
    "cniVersion": "0.3.1",
    "plugins": [
        {"type": "flannel", "delegate": {"hairpinMode": True, "isDefaultGateway": True}},
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ],
}
ENGINES: Final = {"iptables-nft": False, "nftables": True}


class Host:
    """Node n1 with all that the agent can be asked for, of all the cluster's families."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.node = Node(cluster.n1.name)
        self.directory = cluster.directory / "host"
        self.conflist = self.directory / "net.d/10-flannel.conflist"
        self.conflist.parent.mkdir(parents=True)
        self.run_dir = self.directory / "run"
        self.subnet_env = self.directory / "subnet/subnet.env"
        self.conf = cluster.directory / "cni-conf.json"
        self.conf.write_text(json.dumps(CONF))

    def flags(self) -> tuple[str, ...]:
        return (
            *("--ip-masq", "--ip-blackhole-route", "--iptables-resync=1"),
            *("--run-dir", str(self.run_dir), "--subnet-file", str(self.subnet_env)),
            *("--cni-conf", str(self.conf), "--cni-conf-dir", str(self.conflist.parent)),
        )

    def start(self, *flags: str) -> Agent:
        agent = self.cluster.start("n1", *self.flags(), *flags)
        agent.run_dir = self.run_dir
        return agent

    def started(self, *flags: str) -> Agent:
        agent = self.start(*flags)
        agent.says("host-ready")
        return agent

    def cleanup(
        self, *flags: str, path: str = os.environ["PATH"]
    ) -> "subprocess.CompletedProcess[str]":
        fwd = (sys.executable, "-m", "fwd", "cleanup", "--run-dir", str(self.run_dir))
        return self.cluster.n1.run("env", f"PATH={path}", *fwd, *flags)

    def blackholes(self) -> list[str]:
        """Destinations."""
        return [
            route["dst"]
            for family in self.cluster.families
            for route in FACTS[family].routes(self.cluster.n1, "type", "blackhole")
        ]

    def ranges(self) -> list[Any]:
        """Of the conflist's first plugin, one a family."""
        found: list[Any] = json.loads(self.conflist.read_text())["plugins"][0]["ipam"]["ranges"]
        return found

    def dump(self) -> dict[str, object]:
        """All that the agent may change."""
        show = self.cluster.n1.show
        return {
            "links": [one["ifname"] for one in show("link", "show")],
            "addresses": [one["local"] for link in show("address") for one in link["addr_info"]],
            "routes": self._routes("-4") + self._routes("-6"),
            "neighbours": [one["dst"] for one in show("neigh", "show", "nud", "permanent")],
            "rules": self.node.everything(),
            "files": {
                str(path): path.read_bytes() if path.is_file() else None
                for path in self.directory.rglob("*")
            },
        }

    def _routes(self, family: str) -> list[tuple[object, ...]]:
        """Of the main table: the kernel keeps others for each address, and drops them late."""
        keys = ("type", "dst", "dev", "gateway", "protocol", "metric")
        routes = self.cluster.n1.show(family, "route", "show", "table", "main")
        return sorted(tuple(str(route.get(key)) for key in keys) for route in routes)
