# SPDX-License-Identifier: Apache-2.0
"""TCP ports on loopback, for programs that must be told one.

Of none that the kernel gives to whoever asks for any: such a one may be somebody's between the look
and the use.  Each of xdist's workers has its own, and each process begins elsewhere among them.
"""

import itertools
import os
import socket
from collections.abc import Iterator
from functools import cache
from pathlib import Path

_GIVEN_AWAY = Path("/proc/sys/net/ipv4/ip_local_port_range")


@cache
def _candidates() -> Iterator[int]:
    end = int(_GIVEN_AWAY.read_text().split()[0])
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    each = end // 2 // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    first = end // 2 + worker * each
    return itertools.cycle(first + (os.getpid() + index) % each for index in range(each))


def free_port() -> int:
    """Another one each time, until all have been had."""
    for port in itertools.islice(_candidates(), 1000):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise AssertionError("of a thousand ports none is free")
