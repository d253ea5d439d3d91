# SPDX-License-Identifier: Apache-2.0
"""Two nodes with a Pod each, to which something can happen.

    pod 10.244.1.2 -- n1 ======= n2 -- pod 10.244.2.2          (and the same over IPv6)

Both nodes drop what they forward unless the agent's rules let it pass.  n2 has a disk of its own
for its files, and a wall clock that can be stepped.
"""

import os
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Final

from fwd.lab.flow import Flow
from tests.netns.agent_support import FACTS, Namespace, require_bridge_filter, wait_for
from tests.netns.kube_cluster import KubeCluster
from tests.netns.names import own

SHIM: Final = Path(__file__).with_name("step_clock.c")
DISK: Final = "256k"


class Battered(KubeCluster):
    """The cluster."""

    def build(self) -> None:
        require_bridge_filter()
        self.configure(nft=False)
        self._make_disk()
        self._make_clock()
        super().build()
        self.before_all = self.api.do(lambda server: server.nodes.save())
        """Nobody is a member of the cluster yet."""
        self.pods = {name: self._make_pod(name) for name in ("n1", "n2")}
        self.agents = {name: self.started(name) for name in ("n1", "n2")}
        for agent in self.agents.values():
            count = 2 * len(self.families)
            wait_for("all leases", lambda a=agent, c=count: len(a.status()["leases"]) == c)  # type: ignore[misc]

    def pod_address(self, name: str, family: int) -> str:
        """Of a node's Pod; the gateway's is one less."""
        first = FACTS[family].tunnel_ip(name)
        return f"{first}2" if family == 6 else first[:-1] + "2"

    def pod_flow(self, family: int) -> Flow:
        """TCP from n1's Pod to n2's; a context manager."""
        return Flow(self.pods["n1"].name, self.pods["n2"].name, self.pod_address("n2", family))

    def step_clock(self, seconds: int) -> None:
        """So far from the machine's from now on."""
        with self._clock.open("r+b") as file:
            file.write(struct.pack("q", seconds))

    def fill_disk(self) -> Path:
        """Not a byte is left until the file that is returned has gone."""
        filler = self.directory / "n2" / "filler"
        with filler.open("ab", buffering=0) as file:
            for size in (4096, 1):
                try:
                    while True:
                        file.write(bytes(size))
                except OSError:
                    continue
        return filler

    def _make_disk(self) -> None:
        disk = self.directory / "n2"
        disk.mkdir()
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={DISK}", own("disk"), str(disk)],
            check=True,
            timeout=10,
        )

        def gone() -> None:
            subprocess.run(["umount", "--lazy", disk], check=True, timeout=10)

        self._removals.append(gone)

    def _make_clock(self) -> None:
        compiler = shutil.which(os.environ.get("CC") or "cc") or "gcc"
        shim = self.directory / "step_clock.so"
        command = [compiler, "-O2", "-shared", "-fPIC", "-o", str(shim), str(SHIM)]
        subprocess.run(command, check=True, timeout=60)
        self._clock = self.directory / "clock"
        self._clock.write_bytes(bytes(8))
        self.before = {"n2": ["env", f"LD_PRELOAD={shim}", f"STEP_CLOCK={self._clock}"]}

    def _make_pod(self, name: str) -> Namespace:
        node: Namespace = getattr(self, name)
        pod = self._keep(Namespace(own(f"ag-p{name[1:]}")))
        node.ip("link", "add", "pod", "type", "veth", "peer", "name", "eth0", "netns", pod.name)
        node.ip("link", "set", "pod", "up")
        for family in self.families:
            host, length = (24, "") if family == 4 else (64, "nodad")
            address = self.pod_address(name, family)
            gateway = f"{address[:-1]}1"
            node.ip("address", "add", f"{gateway}/{host}", "dev", "pod", *length.split())
            pod.ip("address", "add", f"{address}/{host}", "dev", "eth0", *length.split())
        pod.ip("link", "set", "eth0", "up")
        for family in self.families:
            gateway = f"{self.pod_address(name, family)[:-1]}1"
            pod.ip(f"-{family}", "route", "add", "default", "via", gateway)
        for words in (
            "sysctl -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1",
            "sysctl -w net.ipv6.conf.all.keep_addr_on_down=1",
            "iptables -P FORWARD DROP",
            "ip6tables -P FORWARD DROP",
        ):
            done = node.run(*words.split())
            assert done.returncode == 0, done.stderr
        return pod
