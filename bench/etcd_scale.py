# SPDX-License-Identifier: Apache-2.0
"""One agent beside an etcd with thousands of leases: how long to start, what it holds.

    python -m bench.etcd_scale [--leases 5000]

The run directory and the log are in memory, as /run is.
"""

import argparse
import asyncio
import signal
import subprocess
import time
from pathlib import Path
from typing import Final

from rich.table import Table

from bench import scaled
from bench.scaled import Agent, Peak
from fwd.lab.etcdclient import PREFIX, SUBNETS, Etcd
from fwd.lab.kernelpeers import LostError

NAMESPACE: Final = "fwdbench-etcd"
URL: Final = "http://127.0.0.1:2379"
FLAGS: Final = ("--etcd-endpoints", URL, "--node-name", "bench")
_CONF: Final = '{"Network":"10.0.0.0/8","EnableNFTables":true,"Backend":{"Type":"vxlan"}}'


def value(number: int, *, generation: int = 0) -> str:
    """A lease as flannel writes it."""
    mac = f"02:{generation:02x}:00:00:{number >> 8:02x}:{number & 255:02x}"
    return (
        f'{{"PublicIP":"172.16.{number >> 8}.{number & 255}","PublicIPv6":null,'
        f'"BackendType":"vxlan","BackendData":{{"VNI":1,"VtepMAC":"{mac}"}}}}'
    )


def key(number: int) -> str:
    """Its key."""
    return f"{SUBNETS}10.{1 + (number >> 8)}.{number & 255}.0-24"


async def answering(etcd: Etcd) -> None:
    """Waits until it answers."""
    end = time.monotonic() + 20
    while True:
        try:
            etcd.list("nothing/")
        except LostError:
            if time.monotonic() > end:
                raise
            await asyncio.sleep(0.1)
        else:
            return


async def measure(directory: Path, asked: argparse.Namespace) -> Table:
    """Everything, in a namespace that was prepared."""
    table = Table("measure", "value", "bar", title=f"{asked.leases} leases")
    store, etcd = _started(directory), Etcd(URL)
    agents: list[Agent] = []
    try:
        await answering(etcd)
        etcd.put(f"{PREFIX}/config", _CONF)
        for number in range(asked.leases):
            etcd.put(key(number), value(number))
        agent = Agent(directory, FLAGS)
        agents.append(agent)
        peak = Peak(agent)
        took = await agent.said("forwarding")
        table.add_row("start to forwarding to all", f"{took:.2f} s", "5 s")
        await asyncio.sleep(3)
        table.add_row("RssAnon after the list", f"{agent.memory:.1f} MiB", "")
        delays = []
        for number in range(10):
            before, begun = agent.lines("leases"), time.monotonic()
            etcd.put(key(number), value(number, generation=1))
            await agent.until(lambda n=before: agent.lines("leases") > n, "the commit")  # type: ignore[misc]
            delays.append(time.monotonic() - begun)
            await asyncio.sleep(0.3)
        table.add_row("a change of a MAC to its commit", scaled.told(delays), "100 ms")
        store.kill()
        store.wait()
        store = _started(directory)
        await agent.said("etcd-connected", 2)
        await asyncio.sleep(2)
        table.add_row("RssAnon after a second list", f"{agent.memory:.1f} MiB", "")
        table.add_row("peak of RssAnon", f"{peak.value:.1f} MiB", "64 MiB")
        store.kill()
        await agent.stop(signal.SIGKILL)
        agents.append(Agent(directory, FLAGS))
        took = await agents[-1].said("forwarding")
        table.add_row("start to forwarding, etcd away", f"{took:.2f} s", "")
    finally:
        for agent in agents:
            if agent.process.poll() is None:
                await agent.stop()
        store.kill()
        store.wait()
    return table


def _started(directory: Path) -> "subprocess.Popen[bytes]":
    peer = "http://127.0.0.1:2380"
    words = ["etcd", "--name", "bench", "--data-dir", str(directory / "etcd"), "--logger", "zap"]
    words += ["--log-level", "error", "--listen-client-urls", URL, "--advertise-client-urls", URL]
    words += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]
    words += ["--initial-cluster", f"bench={peer}"]
    return subprocess.Popen(words, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--leases", type=int, default=5000)
    return scaled.main("bench.etcd_scale", NAMESPACE, parser, measure)


if __name__ == "__main__":
    raise SystemExit(main())
