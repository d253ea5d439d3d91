# SPDX-License-Identifier: Apache-2.0
"""One agent in a cluster of thousands: how long to start, what heartbeats cost, what it holds.

The agent runs in a network namespace of its own, beside an API server that has N Nodes of some
10 kB.  Nothing carries packets there; a first VXLAN frame is waited for where time to it is told.

    python -m bench.kube_scale [--nodes 5000] [--seconds 60] [--rate 100]

What is measured and how: `bench.scaled`.  The run directory and the log are in memory, as /run is:
a disk that is being synced would hold up the line that tells of a commit.
"""

import argparse
import asyncio
import contextlib
import signal
import socket
import time
from pathlib import Path
from typing import Final

from rich.table import Table

from bench import scaled
from bench.scaled import Agent, Peak
from fwd.lab import clusternodes
from fwd.lab.apiserver.access import TOKEN
from fwd.lab.apiserver.control import churn
from fwd.lab.apiserver.credentials import write_kubeconfig
from fwd.lab.apiserver.server import ApiServer

NAMESPACE: Final = "fwdbench-kube"
OWN: Final = clusternodes.name(0)
_ETH_P_IP: Final = 0x0800


def flags(directory: Path, url: str) -> list[str]:
    """For an agent of Node 0."""
    conf, token = directory / "net-conf.json", directory / "token"
    conf.write_text('{"Network": "10.0.0.0/8", "Backend": {"Type": "vxlan"}}')
    token.write_text(TOKEN)
    access = directory / "kubeconfig"
    write_kubeconfig(access, url=url, token_file=token)
    words = ["--kube-subnet-mgr", f"--node-name={OWN}", f"--kubeconfig-file={access}"]
    return [*words, f"--net-config-path={conf}"]


def frames() -> socket.socket:
    """Sees what leaves the node."""
    seen = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_IP))
    seen.bind(("wire1", _ETH_P_IP))
    seen.setblocking(False)
    return seen


async def first_frame(agent: Agent) -> float:
    """Seconds from the agent's start to the first VXLAN frame, while a Pod keeps sending."""
    with frames() as seen, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as pod:
        found = False

        def look() -> bool:
            nonlocal found
            with contextlib.suppress(OSError):
                pod.sendto(b"x", ("10.0.7.7", 9))
            with contextlib.suppress(BlockingIOError):
                while frame := seen.recv(2048):
                    found |= frame[36:38] == (8472).to_bytes(2) and frame[23] == socket.IPPROTO_UDP
            return found

        await agent.until(look, "a VXLAN frame")
    return time.monotonic() - agent.begun


async def heartbeats(server: ApiServer, agent: Agent, *, rate: int, seconds: float) -> float:
    """Updates that concern nobody; returns the share of a core that the agent took for them."""
    cpu, begun = agent.cpu_seconds, time.monotonic()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await churn(server, rate)
    return (agent.cpu_seconds - cpu) / (time.monotonic() - begun)


async def change_mac(server: ApiServer, agent: Agent, index: int) -> float:
    """Seconds from a change of a MAC in the API server to the commit that follows."""
    before = agent.lines("leases")
    mac = clusternodes.vtep_mac(index + clusternodes.LIMIT)
    marks = clusternodes.annotations(ip=str(clusternodes.public_ip(index)), mac=mac)
    begun = time.monotonic()
    server.patch_node(clusternodes.name(index), {"metadata": {"annotations": marks}})
    await agent.until(lambda: agent.lines("leases") > before, "the commit")
    return time.monotonic() - begun


async def begin(agent: Agent, table: Table) -> None:
    """From its start to all Nodes in force, and what it holds then."""
    took = await agent.said("forwarding")
    table.add_row("start to forwarding to all", f"{took:.2f} s", "5 s")
    await asyncio.sleep(3)
    table.add_row("RssAnon after the list", f"{agent.memory:.1f} MiB", "")


async def heartbeats_alone(
    server: ApiServer, agent: Agent, asked: argparse.Namespace, table: Table
) -> None:
    """What it costs, and holds, to hear of what concerns nobody."""
    commits, listed = agent.lines("leases"), agent.memory
    share = await heartbeats(server, agent, rate=asked.rate, seconds=asked.seconds)
    table.add_row(f"CPU, {asked.rate} heartbeats/s for {asked.seconds:g} s", f"{share:.1%}", "10 %")
    table.add_row("commits for them", str(agent.lines("leases") - commits), "0")
    grown = agent.memory - listed
    table.add_row("RssAnon after them", f"{agent.memory:.1f} MiB ({grown:+.2f})", "+1")


async def changes_among_heartbeats(
    server: ApiServer, agent: Agent, rate: int, table: Table
) -> None:
    """How long ten changes take that do concern it."""
    beats = asyncio.create_task(heartbeats(server, agent, rate=rate, seconds=10))
    delays = []
    for number in range(10, 20):
        await asyncio.sleep(0.9)
        delays.append(await change_mac(server, agent, number))
    await beats
    table.add_row("a MAC change among heartbeats, to its commit", scaled.told(delays), "100 ms")


async def second_list(server: ApiServer, agent: Agent, table: Table) -> None:
    """The API server comes back and knows nothing of before: all Nodes are listed again."""
    server.nodes.compact()
    await server.stop()
    await server.start()
    await agent.said("api-server-connected", 2)
    await asyncio.sleep(2)
    table.add_row("RssAnon after a second list (410)", f"{agent.memory:.1f} MiB", "")


async def measure(directory: Path, asked: argparse.Namespace) -> Table:
    """Everything, in a namespace that `prepared` made."""
    table = Table("measure", "value", "bar", title=f"{asked.nodes} nodes")
    async with ApiServer(clusternodes.nodes(asked.nodes + 1)) as server:
        server.put_node(clusternodes.node(0, clusternodes.Options(registered=False)))
        version = server.nodes.get(clusternodes.name(7))
        assert version is not None
        table.add_row("size of a Node", f"{len(version.raw)} bytes", "")
        agent = Agent(directory, flags(directory, server.url))
        try:
            peak = Peak(agent)
            await begin(agent, table)
            await heartbeats_alone(server, agent, asked, table)
            await changes_among_heartbeats(server, agent, asked.rate, table)
            await second_list(server, agent, table)
            table.add_row("peak of RssAnon", f"{peak.value:.1f} MiB", "64 MiB")
            await server.stop()
            await agent.stop(signal.SIGKILL)
            agent = Agent(directory, flags(directory, server.url))
            took = await first_frame(agent)
            table.add_row("exec to first packet, API server away", f"{took:.2f} s", "1.5 s")
        finally:
            if agent.process.poll() is None:
                await agent.stop()
    return table


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--nodes", type=int, default=5000)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rate", type=int, default=100)
    return scaled.main("bench.kube_scale", NAMESPACE, parser, measure)


if __name__ == "__main__":
    raise SystemExit(main())
