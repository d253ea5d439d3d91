# SPDX-License-Identifier: Apache-2.0
"""The flags of `fwd run`: our own, by subject, and with flannel's all there are.

Names, defaults and forms only; what the values mean together is `config`'s.
"""

import os
import re
from pathlib import Path

from fwd.flags import Flag, boolean, comma_list, number, one_of, optional_path, some_path
from fwd.flannelflags import ETCD, HEALTH, KUBERNETES, NODE, RULES, UNDERLAY, WITHOUT_EFFECT

OFFLOADS = ("vnet-hdr", "tso", "uso", "multi-queue", "udp-segment", "udp-gro")
SOURCE_CHECKS = ("strict", "loose", "off")
CNI_MODES = ("render", "copy")
CONFINEMENTS = ("full", "log", "capabilities", "off")
LOG_FORMATS = ("text", "json")
MAX_WORKERS = 64
MAX_SPIN = 1000
DEFAULT_RUN_DIR = Path("/run/flannel")


def cpu_list(text: str) -> tuple[int, ...]:
    """Processors as the kernel lists them, such as `0,2-5`; none is none."""
    cpus: list[int] = []
    for part in comma_list(text):
        found = re.fullmatch(r"([0-9]{1,4})(?:-([0-9]{1,4}))?", part)
        if not found or int(found[1]) > int(found[2] or found[1]):
            raise ValueError("must be a list of processors such as 0,2-5")
        cpus += range(int(found[1]), int(found[2] or found[1]) + 1)
    return tuple(cpus)


def offload_names(text: str) -> frozenset[str]:
    """A comma list of offloads."""
    names = frozenset(comma_list(text))
    if not names <= set(OFFLOADS):
        raise ValueError(f"must be a comma list of {', '.join(OFFLOADS)}")
    return names


RUN_DIR = Flag(
    name="run-dir",
    parse=some_path,
    default=DEFAULT_RUN_DIR,
    metavar="DIR",
    help="where the status socket, the lock and the node's MAC are kept",
)

NODE_NAME = Flag(
    name="node-name",
    env="NODE_NAME",
    default="",
    metavar="NAME",
    help="this node's name in the leases; in Kubernetes POD_NAME and POD_NAMESPACE can "
    "stand in for it",
)

STATIC_LEASES = (
    Flag(
        name="static-leases",
        parse=optional_path,
        metavar="FILE",
        help="leases as JSON, read again when it changes",
    ),
)

CNI = (
    Flag(
        name="cni-conf",
        parse=optional_path,
        metavar="FILE",
        help="flannel's cni-conf.json; without it no CNI configuration is written",
    ),
    Flag(
        name="cni-conf-dir",
        parse=some_path,
        default=Path("/etc/cni/net.d"),
        metavar="DIR",
        help="where the container runtime looks for it",
    ),
    Flag(
        name="cni-mode",
        parse=one_of(*CNI_MODES),
        default="render",
        metavar="MODE",
        help="render (resolved for this node) or copy (for flannel's CNI plugin)",
    ),
)

LIFE = (
    Flag(
        name="supervise",
        parse=boolean,
        default=False,
        help="start the agent again when it crashes; packets wait in the kernel meanwhile",
    ),
    Flag(
        name="spare",
        parse=boolean,
        default=True,
        help="with --supervise: keep the next agent loaded, so that it forwards at once after a "
        "crash",
    ),
    Flag(
        name="confine",
        parse=one_of(*CONFINEMENTS),
        default="full",
        metavar="HOW",
        help="full: give up capabilities and system calls that are not needed; log: only log"
        " those calls; capabilities: give up these alone; off: nothing",
    ),
)


def workers_for(processors: int) -> int:
    """On two, one worker is faster than two (docs/decisions/performance.md); more, nobody knows."""
    return 1 if processors <= 2 else min(4, processors)


DATA_PLANE = (
    Flag(
        name="workers",
        parse=number(1, MAX_WORKERS),
        default=workers_for(os.cpu_count() or 1),
        metavar="N",
        help="hot-loop threads; if not given, one on up to two processors, else as many as there"
        " are, four at most",
    ),
    Flag(
        name="worker-cpus",
        parse=cpu_list,
        default=(),
        metavar="LIST",
        help="processors of the workers, one each by turns, such as 0,2-5; none: the scheduler's"
        " choice",
    ),
    Flag(
        name="spin-us",
        parse=number(0, MAX_SPIN),
        default=100,
        metavar="N",
        help="microseconds that a worker looks for the next packet before it sleeps, while packets"
        " come that close and are no bulk, which gathers; 0: never",
    ),
    Flag(
        name="source-check",
        parse=one_of(*SOURCE_CHECKS),
        default="strict",
        metavar="MODE",
        help="which inner sources a peer may use: strict (its own), loose (any), off (any sender)",
    ),
    Flag(
        name="disable-offload",
        parse=offload_names,
        metavar="LIST",
        repeat=True,
        help=f"do without some of {', '.join(OFFLOADS)}",
    ),
    Flag(
        name="tunnel-gso",
        parse=boolean,
        default=False,
        help="leave it to the kernel to cut what TCP sends: through a TAP, from which the node then"
        " forwards the tunnel's own datagrams (docs/operations.md); Linux 6.17",
    ),
)

OBSERVING = (
    Flag(
        name="metrics-per-peer",
        parse=boolean,
        default=True,
        help="/metrics has series for each node; false where they would be too many",
    ),
    Flag(
        name="log-format",
        parse=one_of(*LOG_FORMATS),
        default="text",
        metavar="FORM",
        help="text (key=value) or json, a line an event",
    ),
)

RUN_FLAGS = (
    NODE_NAME,
    *NODE,
    RUN_DIR,
    *STATIC_LEASES,
    *KUBERNETES,
    *ETCD,
    *UNDERLAY,
    *RULES,
    *CNI,
    *LIFE,
    *DATA_PLANE,
    *HEALTH,
    *OBSERVING,
    *WITHOUT_EFFECT,
)
