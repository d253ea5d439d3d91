# SPDX-License-Identifier: Apache-2.0
"""A namespace's set-up as data: lines in the words of iproute2 and nft, in order.

Lines, not netlink calls, for three reasons.  They are pure, so what a node is programmed with is
unit-tested without root.  They are what an operator would type, so whoever knows flannel can
check ``kernelnode`` against it by reading.  And they keep the lab independent of pyroute2, with
which fwd programs its own nodes: were that library wrong, both ends would be wrong alike and a
test between them would pass.  It is fast too: ``ip -batch`` sets up a namespace in one process of
a few milliseconds, where a Python netlink handle in another namespace costs a fork.
"""

import enum

from msgspec import Struct


class Tool(enum.Enum):
    """What understands a line."""

    IP = "ip"
    BRIDGE = "bridge"
    NFT = "nft"
    SYSCTL = "sysctl"


class Step(Struct, frozen=True):
    """One line for one tool; a sysctl's line is ``path/below/proc/sys=value``."""

    tool: Tool
    line: str


def ip(line: str) -> Step:
    """A line of ``ip -batch``."""
    return Step(Tool.IP, line)


def bridge(line: str) -> Step:
    """A line of ``bridge -batch``."""
    return Step(Tool.BRIDGE, line)


def nft(line: str) -> Step:
    """A line of ``nft -f``."""
    return Step(Tool.NFT, line)


def sysctl(path: str, value: int) -> Step:
    """A kernel parameter; slashes, because interface names have dots in them."""
    return Step(Tool.SYSCTL, f"{path}={value}")
