# SPDX-License-Identifier: Apache-2.0
"""The two nodes of agent_support in kube mode, an API server on n1, and TCP between them.

The server runs in a thread of the test that has moved into n1's namespace, so that tests can break
it between two bytes.  A third node exists in the API only.
"""

import asyncio
import ctypes
import os
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from fwd.lab.apiserver.access import TOKEN
from fwd.lab.flow import Flow
from tests.netns.agent_support import FACTS, WAIT_SECONDS, Agent, Cluster, wait_for
from tests.netns.traffic import SLOWER
from tests.unit.kube_server import Server
from tests.unit.kube_support import node_object

T = TypeVar("T")
Kind = TypeVar("Kind", bound="KubeCluster")

RETURN_SECONDS = 5.0
STALL_SECONDS = 0.5 * SLOWER
"""A TCP answer later than this has been stopped; retransmission begins at 0.2 s."""
_CLONE_NEWNET = 0x40000000


class ServerThread:
    """A Server in a loop of its own, in a network namespace."""

    def __init__(self, namespace: str, host: str) -> None:
        self._namespace = namespace
        self._host = host
        self._started = threading.Event()
        self._loop = asyncio.new_event_loop()
        self.server = Server()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._started.wait(WAIT_SECONDS)

    def _run(self) -> None:
        handle = os.open(f"/run/netns/{self._namespace}", os.O_RDONLY)
        moved = ctypes.CDLL(None, use_errno=True).setns(handle, _CLONE_NEWNET)
        os.close(handle)
        assert moved == 0, "setns"
        self._loop.run_until_complete(self.server.start((self._host, 0)))
        self._started.set()
        self._loop.run_forever()
        self._loop.run_until_complete(self.server.__aexit__())
        self._loop.close()

    def do(self, work: Callable[[Server], T]) -> T:
        """In the server's thread."""

        async def made() -> T:
            return work(self.server)

        return self.wait(made())

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(WAIT_SECONDS)

    def remove(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(WAIT_SECONDS)


class KubeCluster(Cluster):
    """n1 and n2 with leases from the API; node n3 is nobody's."""

    def build(self) -> None:
        super().build()
        host = "0.0.0.0" if self.facts.family == 4 else "::"  # agents come by the first family
        self.api = self._keep(ServerThread(self.n1.name, host))
        for number in (1, 2):
            self.put(number, annotations={})
        self.put(3)

    @property
    def server(self) -> Server:
        return self.api.server

    def put(self, number: int, **changes: Any) -> None:  # noqa: ANN401
        made = node_object(number, families=self.families, **changes)
        self.api.do(lambda server: server.nodes.put(made))

    def put_third(self, turn: int) -> None:
        """n3, at other addresses than before."""
        self.put(3, **self.third(turn))

    def third(self, turn: int) -> dict[str, str]:
        """Annotations for n3's addresses: those that a turn has."""
        of = {4: {"public_ip": f"192.168.9.{turn}"}, 6: {"public_ipv6": f"fd09::{turn}"}}
        return {key: text for family in self.families for key, text in of[family].items()}

    def source_flags(self, name: str) -> list[str]:
        flags = ["--kube-subnet-mgr", "--net-config-path", str(self.net_conf)]
        flags += ["--kubeconfig-file", str(self.kubeconfig(name)), "--iface", f"u{name[1:]}"]
        return flags

    def kubeconfig(self, name: str) -> Path:
        """With a token file, in YAML as people write it."""
        path = self.directory / f"{name}.kubeconfig"
        address = self.facts.underlay("n1") if name != "n1" else self.facts.loopback
        if ":" in address:
            address = f"[{address}]"
        path.write_text(
            "{apiVersion: v1, kind: Config, current-context: c,\n"
            " contexts: [{name: c, context: {cluster: k, user: u}}],\n"
            f' clusters: [{{name: k, cluster: {{server: "http://{address}:{self.server.address[1]}"}}}}],\n'
            " users: [{name: u, user: {tokenFile: token}}]}\n"
        )
        return path

    def set_token(self, token: str) -> None:
        """What the agents will read when they read again."""
        new = self.directory / "token.new"
        new.write_text(token)
        new.rename(self.directory / "token")

    def flow(self, to: str = "n2", family: int | None = None) -> Flow:
        """TCP from n1 through the tunnel; ends with the cluster at the latest."""
        stack = ExitStack()
        self._removals.append(stack.close)
        address = FACTS[family or self.facts.family].tunnel_ip(to)
        return stack.enter_context(Flow(self.n1.name, getattr(self, to).name, address))

    def flows(self, to: str = "n2") -> list[Flow]:
        """One a family."""
        return [self.flow(to, family) for family in self.families]

    def knows_all(self, agent: Agent, turn: int) -> bool:
        """Whether an agent has just two other nodes, and n3 at the addresses of this turn."""
        leases = agent.status()["leases"]
        return len(leases) == 2 * len(self.families) and all(
            self.third_is(agent, address) for address in self.third(turn).values()
        )

    def third_is(self, agent: Agent, address: str) -> bool:
        """Whether an agent has n3 at this address."""
        leases = agent.status()["leases"]
        return ("n3", address) in {(lease["node"], lease["public-ip"]) for lease in leases}

    def published(self, name: str) -> dict[str, str]:
        return self.api.do(lambda server: server.annotations(name))


@contextmanager
def running(made: Kind) -> Iterator[Kind]:
    """A cluster, built, for as long as the context lasts."""
    made.set_token(TOKEN)
    try:
        made.build()
        yield made
    finally:
        made.remove()


Nodes = tuple[KubeCluster, Agent, Agent]


def meet(kube: KubeCluster) -> Nodes:
    """Both forward to each other."""
    agents = kube.started("n1"), kube.started("n2")
    for agent in agents:
        count = 2 * len(kube.families)
        wait_for("all leases", lambda a=agent, c=count: len(a.status()["leases"]) == c)  # type: ignore[misc]
    return kube, *agents
