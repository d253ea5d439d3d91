# SPDX-License-Identifier: Apache-2.0
"""One TCP stream, Pod to Pod, fwd against the kernel's vxlan device, interleaved in one run.

One lab with two fwd nodes and two kernel nodes; each round measures every pair of kinds once, so
that whatever disturbs the machine disturbs all of them.  The ratio is of medians, to kernel to
kernel in the same topology.

    python bench/throughput.py [--rounds 5] [--seconds 3] [--mtu 1500] [--no-offload]

--no-offload switches segmentation offload off on the underlay, as on a link whose network card does
not know tunnels.
"""

import argparse
import statistics
import sys
from typing import Final

from rich.console import Console
from rich.table import Table

from fwd.lab import child, lab, netns, probes, signals, state, topology
from fwd.lab.topology import NodeKind, Topology

PREFIX: Final = "fwdbench"
# What issue and release notes promise, MTU 1500, segmentation offload on.
FLOORS: Final = {"fwd to fwd": 0.45, "kernel to fwd": 0.70, "fwd to kernel": 0.25}
OFFLOADS: Final = "tso off gso off tx-udp_tnl-segmentation off tx-udp_tnl-csum-segmentation off"


def contenders(running: Topology) -> dict[str, tuple[int, int]]:
    """Indexes of the nodes, first sender then receiver, by what they are called here."""
    fwd, kernel = (
        [node.index for node in running.nodes if node.kind is kind]
        for kind in (NodeKind.FWD, NodeKind.KERNEL)
    )
    return {
        "kernel to kernel": (kernel[0], kernel[1]),
        "fwd to fwd": (fwd[0], fwd[1]),
        "kernel to fwd": (kernel[0], fwd[0]),
        "fwd to kernel": (fwd[0], kernel[0]),
    }


def measure(running: Topology, sender: int, receiver: int, *, seconds: int) -> float:
    """Gbit/s that arrive; an error ends the run, because a ratio with a gap in it is none."""
    pods = {pod.node: pod for pod in running.pods}
    path = probes.Route(
        source=pods[sender].namespace,
        target=pods[receiver].namespace,
        address=str(running.plans[0].pod(receiver, 1).ip),
        family=running.plans[0].family,
        mtu=running.pod_mtu,
    )
    stream = probes.tcp(path, seconds=seconds, direction=probes.Direction.THERE)
    if stream.error:
        raise SystemExit(f"n{sender} to n{receiver}: {stream.error}")
    return stream.gbit


def switch_off_offload(running: Topology) -> None:
    """As on a link without tunnel offload: whoever sends 64 KiB cuts it in software."""
    for node in running.nodes:
        argv = netns.inside(node.namespace, "ethtool", "-K", "eth0", *OFFLOADS.split())
        result = child.run(argv, limit=10)
        if result.code:
            raise SystemExit(f"ethtool: {result.last_line}")


def rounds(running: Topology, *, count: int, seconds: int) -> dict[str, list[float]]:
    """Gbit/s of each contender in each round."""
    measured: dict[str, list[float]] = {name: [] for name in contenders(running)}
    for one in range(1, count + 1):
        for name, (sender, receiver) in contenders(running).items():
            measured[name].append(measure(running, sender, receiver, seconds=seconds))
            print(f"round {one}/{count}  {name:<16}  {measured[name][-1]:6.2f}", file=sys.stderr)
    return measured


def table(measured: dict[str, list[float]], *, title: str) -> Table:
    """Medians, spread and ratios."""
    shown = Table(title=title)
    for column in ("TCP, one stream", "median Gbit/s", "least", "most", "ratio", "floor"):
        shown.add_column(column, justify="left" if column.startswith("TCP") else "right")
    bar = statistics.median(measured["kernel to kernel"])
    for name, values in measured.items():
        median = statistics.median(values)
        floor = FLOORS.get(name)
        shown.add_row(
            name,
            *(f"{value:.2f}" for value in (median, min(values), max(values), median / bar)),
            f"{floor:.2f}" if floor else "",
        )
    return shown


def main() -> int:
    """Builds the lab, measures, takes it down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--mtu", type=int, default=1500)
    parser.add_argument("--no-offload", action="store_true")
    arguments = parser.parse_args()
    child.require_root()
    running = topology.plan(
        topology.Spec(prefix=PREFIX, nodes=topology.node_specs(fwd=2, kernel=2), mtu=arguments.mtu)
    )
    directory = state.default(PREFIX)
    with signals.as_exceptions(), directory.locked():
        try:
            lab.remove(PREFIX, directory)
            lab.up(running, directory, say=lambda what: print(what, file=sys.stderr))
            if arguments.no_offload:
                switch_off_offload(running)
            measured = rounds(running, count=arguments.rounds, seconds=arguments.seconds)
        finally:
            with signals.shielded():
                lab.remove(PREFIX, directory)
    offload = "off" if arguments.no_offload else "on"
    title = f"MTU {arguments.mtu}, segmentation offload on the underlay {offload}"
    Console().print(table(measured, title=title))
    return 0


if __name__ == "__main__":
    sys.exit(main())
