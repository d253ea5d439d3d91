# SPDX-License-Identifier: Apache-2.0
"""What the CNI tests share: flannel's file, what a Pod asks for, and whether plugins are there."""

import json
import subprocess
from typing import Any, Final

from fwd.lab import cni
from tests.unable import leave_out

LIMIT: Final = 20.0  # seconds for one look

# As in the ConfigMap of flannel's manifests before v0.12.0; later ones add cniVersion 0.3.1.
SEED: Final = """\
{
  "name": "cbr0",
  "plugins": [
    {
      "type": "flannel",
      "delegate": {
        "hairpinMode": true,
        "isDefaultGateway": true
      }
    },
    {
      "type": "portmap",
      "capabilities": {
        "portMappings": true
      }
    }
  ]
}
"""


def require_plugins() -> None:
    """Skip without the plugins; fail instead where nobody looks at skips."""
    if cni.plugins() is None:
        reason = f"needs {', '.join(cni.NEEDED)} (containernetworking-plugins)"
        leave_out(reason)


def host_port(port: int, *, protocol: str = "udp") -> dict[str, Any]:
    """Sandbox.args of a Pod with a hostPort equal to its containerPort."""
    mapping = {"hostPort": port, "containerPort": port, "protocol": protocol}
    return {"portMappings": [mapping]}


def shown(namespace: str, *words: str) -> Any:  # noqa: ANN401 - JSON
    """What `ip` shows in a namespace."""
    argv = ["ip", "-n", namespace, "-json", "-details", *words]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=LIMIT, check=True)
    return json.loads(done.stdout or "[]")
