# SPDX-License-Identifier: Apache-2.0
"""Network namespaces: made, removed, and told their ``Step`` lines through iproute2 and nft.

The only module of the lab that changes the kernel's network.  Why these and no netlink library:
see ``steps``.
"""

import itertools
import json
import re
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from fwd.lab import child, topology
from fwd.lab.errors import LabError
from fwd.lab.steps import Step, Tool

_LINK_POLL: Final = 0.01  # seconds
_DIRECTORY: Final = Path("/var/run/netns")  # iproute2's; on Debian /var/run is /run

# Run inside the namespace: /proc/sys/net shows the namespace of whoever opens it.  A machine
# without IPv6 has none of its parameters, and what they would switch off is off.
_SYSCTL: Final = """
while IFS='=' read -r path value; do
    case $path in net/ipv6/*) [ -d /proc/sys/net/ipv6 ] || continue ;; esac
    echo "$value" >"/proc/sys/$path" || { echo "cannot write /proc/sys/$path"; exit 1; } >&2
done
"""


def existing(prefix: str) -> list[str]:
    """Names of the namespaces that the lab of this prefix has left or is using."""
    try:
        names = sorted(entry.name for entry in _DIRECTORY.iterdir())
    except FileNotFoundError:
        return []
    return [name for name in names if topology.owns(prefix, name)]


def path(namespace: str) -> Path:
    """The file that stands for a namespace."""
    return _DIRECTORY / namespace


def create(namespaces: Iterable[str]) -> None:
    """Make namespaces, with nothing in them but a ``lo`` that is down."""
    lines = [f"netns add {name}" for name in namespaces]
    _batch(["ip", "-batch", "-"], lines, where="ip")


def delete(namespaces: Sequence[str]) -> None:
    """Remove namespaces and with them every link inside; those that are gone already are no error.

    Raises:
        LabError: one is still there afterwards.
    """
    lines = "".join(f"netns delete {name}\n" for name in namespaces)
    result = child.run(["ip", "-force", "-batch", "-"], stdin=lines)
    left = [name for name in namespaces if path(name).exists()]
    if left:
        raise LabError(f"cannot remove namespace {left[0]}: {result.last_line}")


def apply(namespace: str, steps: Iterable[Step]) -> None:
    """Do the steps in order, in one process for each run of the same tool.

    Raises:
        LabError: the first line that the kernel refused, and why.
    """
    for tool, group in itertools.groupby(steps, key=lambda step: step.tool):
        lines = [step.line for step in group]
        if tool is Tool.SYSCTL:
            result = _feed(namespace, ["sh", "-c", _SYSCTL], lines)
            reason = result.last_line
        elif tool is Tool.NFT:
            result = _feed(namespace, [child.find("nft") or "nft", "-f", "-"], lines)
            reason = " ".join(result.err.split("\n")[:2])  # what is wrong, and the line
        else:
            argv = [tool.value, "-n", namespace, "-batch", "-"]
            _batch(argv, lines, where=f"{namespace}: {tool.value}")
            continue
        if result.code != 0:
            raise LabError(f"{namespace}: {reason or result.last_line}")


def inside(namespace: str, *argv: str) -> list[str]:
    """The command line that runs ``argv`` in a namespace; it keeps its process id."""
    return [child.find("ip") or "ip", "netns", "exec", namespace, *argv]


def links(namespace: str) -> list[dict[str, Any]]:
    """Links of a namespace as ``ip -json -d link`` has them: ``ifname``, ``operstate``, ..."""
    result = child.run(["ip", "-n", namespace, "-json", "-details", "link", "show"])
    if result.code != 0:
        raise LabError(f"{namespace}: {result.last_line}")
    found: list[dict[str, Any]] = json.loads(result.out or "[]")
    return found


def await_links(namespaces: Iterable[str], *, limit: float) -> None:
    """Wait until every link carries packets.

    The kernel does that part of ``up`` later, in a worker (linkwatch): until then a bridge port
    learns nothing and a queue drops, and an ARP request lost there is repeated after a second.

    Raises:
        LabError: some link is still down after ``limit`` seconds.
    """
    deadline = time.monotonic() + limit
    for namespace in namespaces:
        while waiting := [link["ifname"] for link in links(namespace) if not _carries(link)]:
            if time.monotonic() > deadline:
                raise LabError(f"{namespace}: {waiting[0]} does not come up")
            time.sleep(_LINK_POLL)


def _carries(link: dict[str, Any]) -> bool:
    port = link.get("linkinfo", {}).get("info_slave_data", {}).get("state", "forwarding")
    return link["operstate"] in {"UP", "UNKNOWN"} and port == "forwarding"


def _feed(namespace: str, argv: Sequence[str], lines: Sequence[str]) -> child.Result:
    return child.run(inside(namespace, *argv), stdin="".join(f"{line}\n" for line in lines))


def _batch(argv: list[str], lines: list[str], *, where: str) -> None:
    result = child.run(argv, stdin="".join(f"{line}\n" for line in lines))
    if result.code == 0:
        return
    # iproute2 says the kernel's reason first, then "Command failed -:<line>".
    reasons = [line for line in result.err.splitlines() if not line.startswith("Command failed")]
    number = re.search(r"Command failed \S*?:(\d+)", result.err)
    line = lines[int(number[1]) - 1] if number else lines[0]
    raise LabError(f"{where} {line}: {reasons[-1] if reasons else result.last_line}")
