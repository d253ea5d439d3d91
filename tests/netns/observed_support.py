# SPDX-License-Identifier: Apache-2.0
"""Two agents, and what is asked of the first."""

import subprocess
import sys
from typing import Any

from tests.netns.agent_support import Cluster

PORT = 9199
FOREIGN = {4: "10.244.77.7", 6: "fd00:244:0:77::7"}
"""In the network, but no node's."""


class Watched:
    """A cluster of two, with both families, and what is asked of its first agent."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.n1, self.n2 = cluster.n1, cluster.n2
        self.agent = cluster.started(
            "n1", "--healthz-ip", "127.0.0.1", "--healthz-port", str(PORT), "--workers", "2"
        )
        cluster.started("n2")

    def fwd(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A command of fwd on the first node."""
        command, *rest = words
        return self.n1.run(
            sys.executable, "-m", "fwd", command, "--run-dir", str(self.agent.run_dir), *rest
        )

    def peer(self, family: int) -> dict[str, Any]:
        """What the status says of n2."""
        leases = self.agent.status()["leases"]
        (lease,) = (one for one in leases if (one["node"], one["family"]) == ("n2", family))
        found: dict[str, Any] = lease
        return found

    def get(self, path: str) -> tuple[int, str]:
        """From the first agent's HTTP server."""
        script = (
            "import sys, urllib.request, urllib.error\n"
            "try: a = urllib.request.urlopen(sys.argv[1], timeout=10)\n"
            "except urllib.error.HTTPError as e: a = e\n"
            "print(a.status); print(a.read().decode(), end='')\n"
        )
        done = self.n1.run(sys.executable, "-c", script, f"http://127.0.0.1:{PORT}{path}")
        assert done.returncode == 0, done.stderr
        status, _, text = done.stdout.partition("\n")
        return int(status), text
