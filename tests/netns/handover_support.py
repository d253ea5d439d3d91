# SPDX-License-Identifier: Apache-2.0
"""A load that counts what is lost, and an agent of the test's own that asks for a hand-over.

It speaks the same words (fwd.core.handovertalk), and may misbehave.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from fwd.core import handovertalk as talk
from fwd.lab.probes import Route
from fwd.node.handover.channel import Channel
from tests.netns.agent_support import FACTS, Agent, Cluster, wait_for
from tests.netns.flows import flowing

LIMIT = 5.0


def paths_of(cluster: Cluster) -> list[Route]:
    """From the first node to the second, one a family."""
    return [
        Route(cluster.n1.name, cluster.n2.name, one.tunnel_ip("n2"), one.family, one.mtu)
        for one in (FACTS[family] for family in cluster.families)
    ]


@contextmanager
def nothing_is_lost(cluster: Cluster, *, seconds: float) -> Iterator[None]:
    paths = paths_of(cluster)
    with ExitStack() as stack:
        flows = [
            stack.enter_context(flowing(path, rate=2000 // len(paths), seconds=seconds))
            for path in paths
        ]
        yield
        for datagrams, stream in flows:
            got = datagrams.result()
            assert (got.received, got.reordered, got.duplicate) == (got.sent, 0, 0)
            assert got.sent > 0
            stream.end()


class Greeting:
    """An agent that has said hello."""

    def __init__(self, agent: Agent, *, oldest: int = 1, newest: int = 1) -> None:
        path = agent.run_dir / "handover.sock"
        wait_for("the socket", path.exists)
        self.channel = Channel.connect(path)
        hello = talk.Hello(node="n1", release="99", oldest=oldest, newest=newest)
        self.channel.send(hello)
        self.answer = self.channel.receive(LIMIT).message

    def ask(self, message: talk.Message) -> talk.Message:
        self.channel.send(message)
        got = self.channel.receive(LIMIT)
        got.close()
        return got.message

    def show(self) -> talk.Message:
        """Takes the kits without looking at them."""
        got = self.ask(talk.Show())
        while not isinstance(got, talk.Shown):
            received = self.channel.receive(LIMIT)
            received.close()
            got = received.message
        return got
