# SPDX-License-Identifier: Apache-2.0
"""A name server that says nothing: the agent says which name, and ends when it is told to."""

import re
import shutil
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.netns.agent_support import Agent, Cluster

pytestmark = [pytest.mark.netns, pytest.mark.root, pytest.mark.usefixtures("dev_mode")]

SERVERS = ("127.0.0.1", "127.0.0.2")
END_SECONDS = 4.0
"""The supervisor kills after ten, and one lookup takes twenty."""
ETCD = ("e1", "e2", "e3")
API = "api.example.net"


class Nameless(Cluster):
    """n1 asks two servers for names; they read nothing of it."""

    def build(self) -> None:
        super().build()
        directory = Path("/etc/netns", self.n1.name)
        directory.mkdir(parents=True)
        self._removals.append(lambda: shutil.rmtree(directory))
        lines = [f"nameserver {server}\n" for server in SERVERS]
        (directory / "resolv.conf").write_text("".join(lines))
        stack = ExitStack()
        self._removals.append(stack.close)
        for server in SERVERS:
            made = self.n1.within(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            stack.enter_context(made).bind((server, 53))

    def source_flags(self, name: str) -> list[str]:
        return ["--iface", f"u{name[1:]}"]

    def of_etcd(self, *flags: str) -> Agent:
        urls = ",".join(f"http://{name}:2379" for name in ETCD)
        return self.start("n1", "--etcd-endpoints", urls, *flags)

    def of_kubernetes(self, *flags: str) -> Agent:
        source = ("--kube-subnet-mgr", "--net-config-path", str(self.net_conf))
        return self.start("n1", *source, "--kube-api-url", f"https://{API}:6443", *flags)


@pytest.fixture
def nameless(tmp_path: Path) -> Iterator[Nameless]:
    made = Nameless(tmp_path)
    try:
        made.build()
        yield made
    finally:
        made.remove()


def unresolved(line: str) -> list[str]:
    return re.findall(r"cannot resolve (\S+): no answer in time", line)


def ends(agent: Agent) -> None:
    """At once, and nothing but what an agent says came of the lookups."""
    code, seconds = agent.stop()
    assert (code, "Exiting cleanly..." in agent.log) == (0, True), agent.log
    assert seconds < END_SECONDS
    assert not agent.lines("asyncio")
    assert "Traceback" not in agent.log


@pytest.mark.parametrize("flags", [(), ("--supervise",)], ids=["alone", "supervised"])
def test_names_of_etcd(nameless: Nameless, flags: tuple[str, ...]) -> None:
    agent = nameless.of_etcd(*flags)
    assert unresolved(agent.says("etcd")) == [*ETCD]
    ends(agent)


@pytest.mark.parametrize("flags", [(), ("--supervise",)], ids=["alone", "supervised"])
def test_the_name_of_an_api_server(nameless: Nameless, flags: tuple[str, ...]) -> None:
    agent = nameless.of_kubernetes(*flags)
    assert unresolved(agent.says("api-server")) == [API]
    ends(agent)
