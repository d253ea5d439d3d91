# SPDX-License-Identifier: Apache-2.0
"""Everything at once for minutes: python -m bench.soak --minutes N [--seed S] (root).

Two nodes with leases from a stand-in of the API server, supervised agents, datagrams both ways and
a TCP connection over each family.  Every few seconds something befalls them.  Node n1 is upgraded
and killed; n2 lives through all else in one process, whose memory and descriptors must stay flat.
At the end the counters of both balance, the connections have lived, and nobody has filled a disk
with log lines.
"""

import argparse
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from threading import Event
from typing import Final

from bench.cluster import built
from bench.survive import child_of
from fwd.bench import traffic
from fwd.lab.apiserver.access import TOKEN
from fwd.lab.apiserver.faults import Answer
from fwd.lab.probes import Route
from fwd.lab.program import exit_code
from tests.netns import topo
from tests.netns.agent_support import FACTS, wait_for
from tests.netns.flows import Stream
from tests.netns.kube_cluster import KubeCluster

_FACTS: Final = tuple(FACTS.values())
_EVERY: Final = (3.0, 7.0)
"""Seconds from one to the next."""
_CROWD: Final = range(20, 60)
_MOST_LINES: Final = 1000
"""Of a node's log in half an hour."""
_LIMIT: Final = 30.0
_MEMORY_SLACK: Final = 2048  # kB
_SUMMED: Final = ("sent", "lost", "out of order", "twice", "refused runs")


class Soak:
    """The nodes and all that can befall them."""

    def __init__(self, cluster: KubeCluster, seed: int) -> None:
        self._cluster = cluster
        self._random = random.Random(seed)  # noqa: S311 - to be repeated
        self._n1 = cluster.started("n1", "--supervise")
        self._n2 = cluster.started("n2", "--supervise")
        self.happened: Counter[str] = Counter()
        self.latest = "nothing yet"
        self.samples: list[tuple[int, int]] = []
        """RssAnon in kB and descriptors of n2's agent."""
        self._blows: list[tuple[str, Callable[[], None]]] = [
            ("upgrade", self._upgrade),
            ("crash", self._crash),
            ("nodes come and go", self._churn),
            ("API server hangs", self._freeze),
            ("API server gone", self._stop_api),
            ("API server answers 503", self._refuse),
            ("API server has an older state", self._restore),
            ("watches break", lambda: cluster.api.do(lambda server: server.break_watches())),
            ("underlay link down", self._flap),
            ("TUN deleted", self._delete_tun),
            ("route deleted", self._delete_route),
            ("rules flushed", self._flush),
            ("TUN down", lambda: self._n2_ip("link", "set", self._device(), "down")),
        ]

    def go_on(self, end: float) -> None:
        """One thing after the other."""
        while time.monotonic() < end:
            name, blow = self._random.choice(self._blows)
            self.latest = name
            blow()
            self.happened[name] += 1
            time.sleep(self._random.uniform(*_EVERY))
            self.samples.append(_weight(child_of(self._n2.pid)))

    def settle(self) -> None:
        """Waits until both reach each other."""
        wait_for("peace", lambda: self._cluster.reaches(self._cluster.n1, "n2"), _LIMIT)
        wait_for("peace", lambda: self._cluster.reaches(self._cluster.n2, "n1"), _LIMIT)

    def check(self, minutes: float) -> list[str]:
        """What is not as it must be."""
        faults = []
        time.sleep(1)
        for agent in (self._n1, self._n2):
            for tunnel in agent.status()["tunnels"]:
                try:
                    topo.assert_balanced(tunnel["counters"])
                except AssertionError as error:
                    faults.append(f"counters do not balance: {error}")
        quarter = max(1, len(self.samples) // 4)
        for what, slack, column in (("RssAnon", _MEMORY_SLACK, 0), ("descriptors", 1, 1)):
            first = statistics.median(one[column] for one in self.samples[quarter : 2 * quarter])
            last = statistics.median(one[column] for one in self.samples[-quarter:])
            sys.stdout.write(f"{what} of n2: {first:.0f}, at the end {last:.0f}\n")
            if last > first + slack:
                faults.append(f"{what} grew from {first:.0f} to {last:.0f}")
        for node in ("n1", "n2"):
            lines = sum(
                len(path.read_text().splitlines())
                for path in self._cluster.directory.glob(f"{node}.*.log")
            )
            sys.stdout.write(f"log lines of {node}: {lines}\n")
            if lines > _MOST_LINES * max(1, minutes / 30):
                faults.append(f"{lines} log lines of {node}")
        return faults

    def _upgrade(self) -> None:
        new = self._cluster.start("n1", "--supervise")
        new.says("taken-over")
        self._n1.ended()
        self._n1 = new

    def _crash(self) -> None:
        os.kill(child_of(self._n1.pid), signal.SIGKILL)

    def _churn(self) -> None:
        for number in _CROWD:
            self._cluster.put(number, version=self._random.randrange(1, 1 << 30))
        time.sleep(0.5)
        gone = self._random.sample(_CROWD, len(_CROWD) // 2)

        def leave(number: int) -> None:
            with suppress(KeyError):
                self._cluster.api.do(lambda server: server.delete_node(f"n{number}"))

        for number in gone:
            leave(number)

    def _freeze(self) -> None:
        self._cluster.api.do(lambda server: server.freeze())
        time.sleep(self._random.uniform(1, 6))
        self._cluster.api.do(lambda server: server.thaw())

    def _stop_api(self) -> None:
        self._cluster.api.wait(self._cluster.server.stop())
        time.sleep(self._random.uniform(1, 6))
        self._cluster.api.wait(self._cluster.server.start())

    def _refuse(self) -> None:
        for verb in ("list", "watch"):
            self._cluster.api.do(lambda server, v=verb: server.fault(Answer(503), verb=v))  # type: ignore[misc]
        self._cluster.api.do(lambda server: server.cut())

    def _restore(self) -> None:
        saved = self._cluster.api.do(lambda server: server.nodes.save())
        self._churn()
        self._cluster.api.do(lambda server: server.restore(saved))

    def _flap(self) -> None:
        self._n2_ip("link", "set", "u2", "down")
        time.sleep(self._random.uniform(0.2, 5))
        self._n2_ip("link", "set", "u2", "up")

    def _delete_tun(self) -> None:
        with suppress(AssertionError):  # it is just being made anew
            self._n2_ip("link", "del", self._device())

    def _delete_route(self) -> None:
        with suppress(AssertionError):
            facts = self._random.choice(_FACTS)
            self._n2_ip(f"-{facts.family}", "route", "del", facts.network)

    def _device(self) -> str:
        return self._random.choice(_FACTS).device

    def _flush(self) -> None:
        self._cluster.n2.run("nft", "flush", "ruleset")

    def _n2_ip(self, *words: str) -> None:
        with suppress(AssertionError):
            self._cluster.n2.ip(*words)


def _weight(pid: int) -> tuple[int, int]:
    status = Path(f"/proc/{pid}/status").read_text()
    (anonymous,) = (line.split()[1] for line in status.splitlines() if line.startswith("RssAnon"))
    return int(anonymous), len(list(Path(f"/proc/{pid}/fd").iterdir()))


@contextmanager
def nodes() -> Iterator[KubeCluster]:
    """Built, and removed with all that runs there."""
    with tempfile.TemporaryDirectory(prefix="fwd-soak-") as directory:
        made = KubeCluster(Path(directory), families=tuple(FACTS))
        made.python = ("-W", "error")  # -X dev says what takes long on a busy machine
        made.set_token(TOKEN)
        with built(made):
            for node in (made.n1, made.n2):  # addresses outlive a link that goes down
                node.run("sysctl", "-w", "net.ipv6.conf.all.keep_addr_on_down=1")
            yield made


def load(path: Route, end: float, rate: int, made: Soak, *, over: Event) -> Counter[str]:
    """Datagrams until then or until it is over, in short runs: without a route they fail."""
    total: Counter[str] = Counter()
    while time.monotonic() < end and not over.is_set():
        before = made.latest
        try:
            got = traffic.datagrams(path, size=200, seconds=2, rate=rate, flows=4)
        except OSError:
            total["refused runs"] += 1
            time.sleep(0.2)
            continue
        total["sent"] += got.sent
        total["lost"] += got.sent - got.received
        total["out of order"] += got.reordered
        total["twice"] += got.duplicate
        if got.reordered or got.duplicate:
            during = " and ".join(dict.fromkeys((before, made.latest)))
            text = f"{got.reordered} out of order, {got.duplicate} twice during: {during}"
            sys.stdout.write(f"to {path.address}: {text}\n")
    return total


def soak(minutes: float, seed: int, rate: int) -> list[str]:
    """What is not as it must be."""
    with ExitStack() as stack:
        two = stack.enter_context(nodes())
        made = Soak(two, seed)
        made.settle()
        routes = [
            Route(
                source=getattr(two, source).name,
                target=getattr(two, target).name,
                address=facts.tunnel_ip(target),
                family=facts.family,
                mtu=facts.mtu,
            )
            for source, target in (("n1", "n2"), ("n2", "n1"))
            for facts in _FACTS
        ]
        streams = [Stream(route) for route in routes[: len(_FACTS)]]
        for stream in streams:
            stack.callback(stream.close)
        pool, over = stack.enter_context(ThreadPoolExecutor(len(routes))), Event()
        stack.callback(over.set)  # before the pool waits for its threads: Ctrl-C need not
        end = time.monotonic() + 60 * minutes
        run = partial(load, end=end, rate=rate // len(_FACTS), made=made, over=over)
        loads = [pool.submit(run, route) for route in routes]
        made.go_on(end)
        for route, one in zip(routes, loads, strict=True):
            got, to = one.result(), f"to {route.address}"
            sys.stdout.write(f"{to}: {', '.join(f'{got[key]:,} {key}' for key in _SUMMED)}\n")
        made.settle()
        faults = []
        for facts, stream in zip(_FACTS, streams, strict=True):
            try:
                sys.stdout.write(f"TCP, IPv{facts.family}: lived, {stream.end()} sent again\n")
            except (AssertionError, OSError) as error:
                faults.append(f"TCP over IPv{facts.family} has not lived: {error!r}")
                stream.close()  # counters are compared at rest
        for name, times in sorted(made.happened.items()):
            sys.stdout.write(f"{times:>5}  {name}\n")
        return faults + made.check(minutes)


def show(options: argparse.Namespace) -> int:
    """Does it, and says what is not as it must be."""
    sys.stdout.write(f"seed {options.seed}\n")
    faults = soak(options.minutes, options.seed, options.rate)
    sys.stdout.writelines(f"FAULT {fault}\n" for fault in faults)
    sys.stdout.write("all counters balance\n" if not faults else "")
    return int(bool(faults))


def main() -> int:
    """Exit code 1 if something is not as it must be."""
    parser = argparse.ArgumentParser(description="Everything at once, for minutes.")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    parser.add_argument("--rate", type=int, default=2000, help="datagrams a second, each way")
    options = parser.parse_args()
    return exit_code("bench.soak", lambda: show(options))


if __name__ == "__main__":
    raise SystemExit(main())
