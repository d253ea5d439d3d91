# SPDX-License-Identifier: Apache-2.0
"""What a scrape of /metrics costs, and what it does to packets: python -m bench.scrape [...].

Two nodes joined by a veth; the first one's agent has thousands of leases, of which only the second
is there.  ping sends a request a millisecond through the tunnel all the time; seconds with a scrape
each second, fifteen times as often as usual, alternate with seconds without.  A reply counts as
beside a scrape if it was on its way while an answer was being made or read.  Who scrapes is
elsewhere as a rule, so here it has the lowest priority.  Then the same with a program that has
nothing to do with fwd and computes for as long as a scrape takes: on few processors a packet waits
for that, too.  Root; two minutes.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from bisect import bisect_right
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Final

from msgspec import Struct
from rich.console import Console
from rich.table import Table

from bench.cluster import built
from fwd.lab.program import exit_code
from fwd.runflags import workers_for
from tests.netns.agent_support import FACTS, Agent, Cluster
from tests.unit.in_family import said

_PORT: Final = 9199
_HALF: Final = 1 << 15
_REPLY: Final = re.compile(r"^\[([\d.]+)\] .*icmp_seq=(\d+) .*time=([\d.]+) ms$", re.MULTILINE)
_SCRAPER: Final = """\
import http.client, sys, time
address, pause, seconds, times = sys.argv[1], *map(float, sys.argv[2:])
for _ in range(int(times)):
    time.sleep(seconds)
    end = time.time() + seconds
    while (begin := time.time()) < end:
        asking = http.client.HTTPConnection(address, 9199, timeout=10)
        asking.request("GET", "/metrics")
        answer = asking.getresponse()
        size = len(answer.read())
        asking.close()
        if answer.status != 200:
            sys.exit(f"/metrics answered {answer.status}")
        print(begin, time.time(), size, flush=True)
        time.sleep(pause)
"""
_COMPUTER: Final = """\
import sys, time
cpu, pause, seconds, times = map(float, sys.argv[1:])
for _ in range(int(times)):
    time.sleep(seconds)
    end = time.time() + seconds
    while (begin := time.time()) < end:
        until = time.thread_time() + cpu
        while time.thread_time() < until:
            pass
        print(begin, time.time(), 0, flush=True)
        time.sleep(pause)
"""


class Scrape(Struct, frozen=True):
    """One, or what is computed in its place: seconds since the epoch, bytes."""

    begin: float
    end: float
    size: int


class Reply(Struct, frozen=True):
    """To one request: when it came, in seconds since the epoch, and milliseconds on the way."""

    at: float
    ms: float


def fill(cluster: Cluster, peers: int) -> None:
    """Leases of so many nodes that are not there, in a larger network."""
    family = cluster.facts.family
    wide = str(said(family, IPv4Network("10.0.0.0/8")))
    conf = json.loads(cluster.net_conf.read_text())
    conf[cluster.facts.network_key] = wide
    cluster.net_conf.write_text(json.dumps(conf))
    for number in range(peers):
        high, low = divmod(number, 250)
        lease = {
            "node": f"m{number}",
            "subnet": str(IPv4Network((0x0A800000 + (number << 8), 24))),
            "public-ip": str(IPv4Address(0xC0A86400 + number)),
            "backend-data": {"VNI": 1, "VtepMAC": f"02:01:00:00:{high:02x}:{low:02x}"},
        }
        cluster.entries[f"m{number}"] = said(family, lease)
    cluster.write()


def watched(
    cluster: Cluster, busy: Sequence[str], pairs: int, seconds: float, pause: float
) -> tuple[list[Reply], int, list[Scrape]]:
    """Replies, how many did not come, and the scrapes meanwhile, which `busy` makes."""
    whole = 2 * pairs * seconds + 1
    inside = ["ip", "netns", "exec", cluster.n1.name]
    target = cluster.facts.tunnel_ip("n2")
    words = [str(pause), str(seconds), str(pairs)]
    ping = [*inside, "ping", "-n", "-D", "-i", "0.001", "-w", str(int(whole) + 1), target]
    with (cluster.directory / "ping").open("w+") as said_by_ping:
        pinging = subprocess.Popen(ping, stdout=said_by_ping)
        try:
            done = printed_by([*inside, *busy, *words], whole + 30)
            pinging.send_signal(signal.SIGINT)
            pinging.wait(10)
        finally:
            pinging.kill()
        said_by_ping.seek(0)
        text = said_by_ping.read()
    scrapes = []
    for line in done.splitlines():
        begin, end, size = line.split()
        scrapes.append(Scrape(float(begin), float(end), int(size)))
    found = [(float(at), int(number), float(ms)) for at, number, ms in _REPLY.findall(text)]
    lost = requested([number for _, number, _ in found]) - len(found)
    return [Reply(at, ms) for at, _, ms in found], lost, scrapes


def requested(numbers: Sequence[int]) -> int:
    """How many requests there were up to the last that was answered; the numbers have 16 bits."""
    most = last = 0
    for number in numbers:
        last += (number - last + _HALF) % (2 * _HALF) - _HALF
        most = max(most, last)
    return most


def printed_by(command: Sequence[str], limit: float) -> str:
    """What it prints; SystemExit if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=limit, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return done.stdout


def beside(reply: Reply, scrapes: Sequence[Scrape], *, margin: float = 0.0) -> bool:
    """Whether the reply was on its way during a scrape, or so many seconds before or after it."""
    index = bisect_right(scrapes, reply.at + margin, key=lambda one: one.begin) - 1
    return index >= 0 and scrapes[index].end >= reply.at - reply.ms / 1000 - margin


def row(name: str, of: Sequence[float], *, digits: int = 3) -> tuple[str, ...]:
    """Number, p50, p99, p99.9, max."""
    values = sorted(of)
    shares = [
        values[min(len(values) - 1, int(share * len(values)))] for share in (0.5, 0.99, 0.999)
    ]
    return (name, str(len(values)), *(f"{one:.{digits}f}" for one in (*shares, values[-1])))


def measure(cluster: Cluster, agent: Agent, asked: argparse.Namespace) -> Table:
    """The table."""
    scraper = ["nice", "-n", "19", sys.executable, "-c", _SCRAPER, cluster.facts.loopback]
    watched(cluster, scraper, pairs=1, seconds=0.2, pause=0.05)  # the first one imports things
    before = cpu_seconds(agent)
    _, _, burst = watched(cluster, scraper, pairs=1, seconds=1.0, pause=0.0)
    cpu = (cpu_seconds(agent) - before) / len(burst)
    shape = asked.pairs, asked.seconds, asked.pause
    replies, lost, scrapes = watched(cluster, scraper, *shape)
    computer = ["setsid", "--wait", sys.executable, "-c", _COMPUTER, f"{cpu:.4f}"]
    others, _, computed = watched(cluster, computer, *shape)
    table = Table(title=f"{asked.peers} peers, IPv{cluster.facts.family}; milliseconds")
    for column in ("", "number", "p50", "p99", "p99.9", "max"):
        table.add_column(column, justify="right" if column else "left")
    took = [1000 * (one.end - one.begin) for one in scrapes]
    table.add_row(*row("scrape, asked to read", took, digits=1))
    near = [one for one in replies if beside(one, scrapes, margin=asked.pause / 2)]
    quiet = [one.ms for one in replies if not beside(one, scrapes, margin=asked.pause / 2)]
    during = [one.ms for one in near if beside(one, scrapes)]
    table.add_row(*row("round trip, no scrapes", quiet))
    table.add_row(*row("round trip, a scrape a second", [one.ms for one in near]))
    table.add_row(*row("... of these, beside a scrape", during))
    table.add_row(
        *row("... beside as much computing", [one.ms for one in others if beside(one, computed)])
    )
    table.caption = (
        f"{lost} replies lost; {scrapes[0].size:,} bytes and {1000 * cpu:.0f} ms of CPU a scrape"
    )
    return table


def cpu_seconds(agent: Agent) -> float:
    """Of the agent's control thread: user and system."""
    path = Path(f"/proc/{agent.pid}/task/{agent.pid}/schedstat")
    return int(path.read_text().split()[0]) / 1e9


def show(asked: argparse.Namespace) -> int:
    """Measures, and prints the table."""
    with tempfile.TemporaryDirectory(prefix="fwd-scrape-", dir="/dev/shm") as directory:
        cluster = Cluster(Path(directory), families=(asked.family,))
        cluster.python = ()
        with built(cluster):
            fill(cluster, asked.peers)
            ip = cluster.facts.loopback
            workers = f"--workers={workers_for(os.cpu_count() or 1)}"
            health = f"--healthz-ip={ip}", f"--healthz-port={_PORT}"
            agent = cluster.started("n1", *health, workers)
            cluster.started("n2", workers)
            if not cluster.reaches(cluster.n1, "n2"):
                raise SystemExit("the nodes do not reach each other")
            time.sleep(1)
            table = measure(cluster, agent, asked)
    Console(width=100 if not sys.stdout.isatty() else None).print(table)
    return 0


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--peers", type=int, default=5000)
    parser.add_argument("--family", type=int, choices=list(FACTS), default=4)
    parser.add_argument("--pairs", type=int, default=6, help="seconds without and with, each")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each")
    parser.add_argument("--pause", type=float, default=1.0, help="seconds between two scrapes")
    asked = parser.parse_args()
    return exit_code("bench.scrape", lambda: show(asked))


if __name__ == "__main__":
    raise SystemExit(main())
