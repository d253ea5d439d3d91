# SPDX-License-Identifier: Apache-2.0
"""How TCP lives through what befalls a node: python -m bench.adversity [--minutes N] (root).

A connection from Pod to Pod over each family for each adversity, on nodes that nobody restarts.
The API server, and then an etcd, are away for --minutes; a server with an older state is left to
be found out by the agents themselves.  Ten minutes of outage make 25 in all, nearly idle ones.
"""

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from bench.cluster import built
from fwd.lab.apiserver.access import TOKEN
from fwd.lab.program import exit_code
from tests.netns import adversities, etcd_cluster
from tests.netns.adversities import QUICK, SILENCE, Adversity, Outcome, outlive
from tests.netns.agent_support import wait_for
from tests.netns.battered import Battered
from tests.netns.etcd_cluster import EtcdCluster

_FAMILIES: Final = (4, 6)


def through_kube(seconds: float) -> Generator[tuple[str, Outcome], None, None]:
    """Each adversity but etcd's."""
    slow = (
        adversities.api_gone(seconds),
        adversities.older_state(SILENCE),
        adversities.state_before_all(SILENCE),
    )
    names = {one.name for one in slow}
    every: tuple[Adversity, ...] = (*slow, *(one for one in QUICK if one.name not in names))
    with tempfile.TemporaryDirectory(prefix="fwd-adversity-") as directory:
        kube = Battered(Path(directory), families=_FAMILIES)
        kube.set_token(TOKEN)
        with built(kube):
            for adversity in every:
                yield adversity.name, outlive(kube, adversity)


def through_etcd(seconds: float) -> tuple[str, Outcome]:
    """An etcd that is away."""
    with (
        tempfile.TemporaryDirectory(prefix="fwd-adversity-") as directory,
        built(EtcdCluster(Path(directory), families=_FAMILIES)) as made,
    ):
        made.etcd.start()
        agents = made.meet()
        addresses = etcd_cluster.addresses(agents[1])
        wait_for("both reach each other", lambda: all(map(made.n1.pings, addresses)))
        before = adversities.events(agents)
        flows = made.flows(agents[1])
        made.etcd.stop()
        time.sleep(seconds)
        made.etcd.start()
        made.third(4)
        made.know(agents, 4, limit=30)
        courses = [flow.end() for flow in flows]
        said = adversities.events(agents) - before
    longest = {family: one.longest for family, one in zip(_FAMILIES, courses, strict=True)}
    answers = sum(one.answers for one in courses)
    return f"etcd gone for {seconds:g} s", Outcome(longest, answers, said)


def _words(said: Counter[str]) -> str:
    return ", ".join(f"{count} {event}" for event, count in sorted(said.items())) or "nothing"


def show(seconds: float) -> int:
    """Does it all, and prints the table."""
    table = Table(title="TCP that has lived: the longest wait for an answer, in seconds")
    for column in ("what befell", "IPv4", "IPv6", "answers", "lines of both logs"):
        table.add_column(column, justify="left" if column[0] in "wl" else "right")

    def add(name: str, outcome: Outcome) -> None:
        waits = (outcome.longest.get(family) for family in _FAMILIES)
        cells = ("" if wait is None else f"{wait:.2f}" for wait in waits)
        table.add_row(name, *cells, f"{outcome.answers:,}", _words(outcome.said))
        sys.stdout.write(f"{name}: lived\n")
        sys.stdout.flush()

    with closing(through_kube(seconds)) as outcomes:
        for name, outcome in outcomes:
            add(name, outcome)
    add(*through_etcd(seconds))
    Console(width=130 if not sys.stdout.isatty() else None).print(table)
    return 0


def main() -> int:
    """Prints the table; a connection that does not live ends it with an error."""
    parser = argparse.ArgumentParser(description="What befalls a node, and how TCP lives.")
    parser.add_argument("--minutes", type=float, default=1, help="servers are away for (default 1)")
    seconds = 60 * parser.parse_args().minutes
    return exit_code("bench.adversity", lambda: show(seconds))


if __name__ == "__main__":
    raise SystemExit(main())
