# SPDX-License-Identifier: Apache-2.0
"""What kubelet's probes see, from inside a node."""

import sys

from tests.netns.agent_support import Namespace

HEALTH = ("--healthz-ip=127.0.0.1", "--healthz-port=8081")
_ASK = """
import sys, urllib.request, urllib.error
try:
    print(urllib.request.urlopen("http://127.0.0.1:8081/" + sys.argv[1], timeout=5).read().decode())
except urllib.error.HTTPError as error:
    with error: print(error.code, error.read().decode())
except OSError as error: print(error)
"""


def probe(node: Namespace, path: str) -> str:
    """The answer's body; of a refusal the status before it."""
    return node.run(sys.executable, "-c", _ASK, path).stdout.strip()
