# SPDX-License-Identifier: Apache-2.0
"""Fifty agents that start at once, in a network of fifty subnets: each has to get one.

    python -m bench.etcd_fifty [--nodes 50]

Real agents in namespaces of a lab, a real etcd on its switch.  One more agent then waits, and gets
the subnet of one that is deleted.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from bench.scaled import cpu_seconds
from fwd.lab import (
    building,
    etcdplane,
    netns,
    nodes,
    service,
    signals,
    state,
    topology,
    underlay,
)
from fwd.lab.etcdclient import PREFIX as KEYS
from fwd.lab.etcdclient import SUBNETS
from fwd.lab.program import exit_code
from fwd.lab.state import StateDir
from fwd.lab.topology import Node, Source, Spec, Topology

LIMIT_SECONDS: Final = 300.0
PREFIX: Final = "fwdfifty"
_OWN: Final = re.compile(r"event=forwarding .*subnet=(\S+)")


class Started:
    """One agent."""

    def __init__(self, plan: Topology, node: Node, directory: Path) -> None:
        run_dir = directory / node.name
        run_dir.mkdir()
        self._log = run_dir / "log"
        words = [sys.executable, "-m", "fwd", "run", "--etcd-endpoints", etcdplane.url(plan)]
        words += ["--iface", underlay.UPLINK, "--node-name", node.name, "--run-dir", str(run_dir)]
        words += ["--subnet-file", str(run_dir / "subnet.env"), "--workers", "1"]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                netns.inside(node.namespace, *words),
                stdout=log,
                stderr=log,
                env=service.environment(),
            )

        self._subnet = ""

    @property
    def log(self) -> str:
        """What it said."""
        return self._log.read_text()

    @property
    def subnet(self) -> str:
        """Its own, once it forwards."""
        if not self._subnet and (found := _OWN.search(self.log)):
            self._subnet = found[1]
        return self._subnet

    @property
    def cpu_seconds(self) -> float:
        """User and system."""
        return cpu_seconds(self.process.pid)


def play(directory: Path, *, count: int) -> list[str]:
    """Everything; returns what there is to say."""
    spec = Spec(
        prefix=PREFIX,
        nodes=topology.node_specs(fwd=count + 1, kernel=0),
        source=Source.ETCD,
    )
    plan = topology.plan(spec)
    namespaces = [plan.switch, *(node.namespace for node in plan.nodes)]
    agents: list[Started] = []
    building.dismantle(netns.existing(spec.prefix))
    try:
        build(plan, namespaces)
        start_etcd(plan, directory, count=count)
        told = all_at_once(plan, directory, agents, count=count)
        return told + one_too_many(plan, directory, agents)
    finally:
        with signals.shielded():
            for agent in agents:
                agent.process.kill()
                agent.process.wait()
            building.dismantle(namespaces)  # with etcd, and any agent of which `agents` knows not


def build(plan: Topology, namespaces: Sequence[str]) -> None:
    """The switch, and every node's link to it."""
    netns.create(namespaces)
    building.switch(plan)
    for node in plan.nodes:
        netns.apply(node.namespace, nodes.host(plan))
        netns.apply(plan.switch, underlay.plug(plan, node))
        netns.apply(node.namespace, underlay.uplink(plan, node))
    netns.await_links(namespaces, limit=30)


def start_etcd(plan: Topology, directory: Path, *, count: int) -> None:
    """With a configuration of so many subnets."""
    store = service.start(etcdplane.program(plan, StateDir(directory)))
    store.await_ready(time.monotonic() + 20)
    etcdplane.do(
        plan,
        "put",
        f"{KEYS}/config",
        f'{{"Network":"10.9.0.0/16","SubnetMax":"10.9.{count}.0","EnableNFTables":true,'
        '"Backend":{"Type":"vxlan"}}',
    )


def all_at_once(plan: Topology, directory: Path, agents: list[Started], *, count: int) -> list[str]:
    """As many agents as subnets; they are added to `agents` and stay.  What there is to say."""
    begun = time.monotonic()
    agents += [Started(plan, node, directory) for node in plan.nodes[:count]]
    _until(lambda: all(agent.subnet for agent in agents), agents)
    took = time.monotonic() - begun
    cpu = sum(agent.cpu_seconds for agent in agents)
    subnets = {agent.subnet for agent in agents}
    assert len(subnets) == count
    lost = sum(agent.log.count("event=lease-discarded") for agent in agents)
    return [
        f"{count} agents, {len(subnets)} subnets, {took:.1f} s until the last one forwards",
        f"{cpu:.1f} s of CPU, of {took * (os.cpu_count() or 1):.1f} s that there were",
        f"{sum(agent.process.poll() is not None for agent in agents)} ended, {lost} drew again",
    ]


def one_too_many(plan: Topology, directory: Path, agents: list[Started]) -> list[str]:
    """One more waits until the first is deleted, and has its subnet.  What there is to say."""
    first = agents[0]
    late = Started(plan, plan.nodes[len(agents)], directory)
    agents.append(late)
    _until(lambda: "out of subnets" in late.log, agents)
    told = re.findall('event=waiting text="(.*)"', late.log)[0]
    first.process.kill()
    first.process.wait()
    freed, begun = first.subnet, time.monotonic()
    etcdplane.do(plan, "del", SUBNETS + freed.replace("/", "-"))
    _until(lambda: late.subnet, agents[1:])
    took = time.monotonic() - begun
    assert late.subnet == freed
    return [told, f"one deleted: the one that waits has {late.subnet} of {freed} in {took:.2f} s"]


def _until(done: Callable[[], object], agents: list[Started]) -> None:
    end = time.monotonic() + LIMIT_SECONDS
    while not done():
        gone = [agent for agent in agents if agent.process.poll() is not None]
        if gone or time.monotonic() > end:
            raise SystemExit((gone or agents)[0].log[-2000:])
        time.sleep(0.1)


def show(count: int) -> int:
    """Plays it and prints what was seen, one at a time on a machine."""
    with (
        state.default(PREFIX).locked(),
        tempfile.TemporaryDirectory(prefix="fwdfifty-", dir="/dev/shm") as directory,
    ):
        for line in play(Path(directory), count=count):
            print(line)
    return 0


def main() -> int:
    """Prints what was seen."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--nodes", type=int, default=50)
    asked = parser.parse_args()
    return exit_code("bench.etcd_fifty", lambda: show(asked.nodes))


if __name__ == "__main__":
    raise SystemExit(main())
