# SPDX-License-Identifier: Apache-2.0
"""Where packets between two nodes were lost: what the kernel and the agents have counted.

A packet that nobody counts is lost in silence, and none may be; so the sum of these is the loss.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from fwd.plane import CounterKind, counter_info
from tests.netns.agent_support import Agent, Namespace

_PORT: Final = 8472
_DROPS: Final = frozenset(one.name for one in counter_info() if one.kind is not CounterKind.TRAFFIC)
_SOFTNET: Final = Path("/proc/net/softnet_stat")
"""A line a processor; the second word counts what found its backlog full."""


def counted(nodes: dict[str, Namespace]) -> dict[str, int]:
    """Of the kernel, by place; to be compared with the same of later."""
    found = {"backlog": sum(int(line.split()[1], 16) for line in _SOFTNET.read_text().splitlines())}
    for name, node in nodes.items():
        for link in node.show("-s", "link", "show"):
            stats = link.get("stats64", {})
            for way in ("rx", "tx"):
                found[f"{name} {link['ifname']} {way}"] = sum(
                    stats.get(way, {}).get(kind, 0) for kind in ("dropped", "errors")
                )
        found |= {f"{name} {key}": number for key, number in _sockets(node)}
    return found


def of_agent(name: str, agent: Agent) -> dict[str, int]:
    """Of the agent that runs and those that have handed over to it, by reason."""
    (tunnel,) = agent.status()["tunnels"]
    return {
        f"{name} {reason}": number
        for reason, number in tunnel["counters"].items()
        if reason in _DROPS
    }


def _sockets(node: Namespace) -> Iterator[tuple[str, int]]:
    """Datagrams that found the receive buffer full, of the tunnel's sockets and of all others."""
    drops = {True: 0, False: 0}
    for line in node.run("cat", "/proc/net/udp").stdout.splitlines()[1:]:
        words = line.split()
        drops[int(words[1].rpartition(":")[2], 16) == _PORT] += int(words[-1])
    yield "tunnel's sockets", drops[True]
    yield "others' sockets", drops[False]


def told(before: dict[str, int], after: dict[str, int]) -> str:
    """What has become more, in one line."""
    more = {key: number - before.get(key, 0) for key, number in after.items()}
    return ", ".join(f"{key} {number:,}" for key, number in more.items() if number > 0) or "none"
