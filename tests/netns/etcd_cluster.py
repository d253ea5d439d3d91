# SPDX-License-Identifier: Apache-2.0
"""The two nodes of agent_support in etcd mode, an etcd on n1, and TCP between them.

A third node exists in etcd only, as flannel would have written it.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from fwd.lab.flow import Flow
from tests.certificates import Authority
from tests.etcd_server import SUBNETS, EtcdServer
from tests.netns.agent_support import FACTS, Agent, Cluster, Facts, wait_for


class EtcdCluster(Cluster):
    """n1 and n2 with leases from etcd, by TLS with certificates and a user, if etcd wants one.

    etcd is at n1's address of the first family.
    """

    def build(self) -> None:
        super().build()
        authority, other = (Authority(self.directory, name) for name in ("authority", "stranger"))
        host = self.facts.underlay("n1")
        self.etcd = EtcdServer(
            self.directory / "etcd",
            tls=authority.sign("root", ip=host),
            namespace=self.n1.name,
            host=host,
        )
        self._removals.append(self.etcd.stop)
        self._ca = authority.ca
        self._certificates = authority.sign("fwd"), other.sign("fwd2")
        self._own = self.directory / "own.crt", self.directory / "own.key"
        self.certify(is_right=True)

    @property
    def conf(self) -> dict[str, object]:
        """The network's configuration."""
        conf: dict[str, object] = json.loads(self.net_conf.read_text())
        return conf

    @property
    def all_facts(self) -> list[Facts]:
        """Of the families that are on."""
        return [FACTS[family] for family in self.families]

    def certify(self, *, is_right: bool) -> None:
        """What agents have in their files is of the right authority from now on, or of another."""
        right, wrong = self._certificates
        for path, other in zip(self._own, right if is_right else wrong, strict=False):
            path.write_bytes(other.read_bytes())

    def source_flags(self, name: str) -> list[str]:
        certificate, private = map(str, self._own)
        nobody = f"{self.etcd.url.rpartition(':')[0]}:9"
        return [
            *("--iface", f"u{name[1:]}"),
            *("--etcd-endpoints", f"{nobody},{self.etcd.url}"),
            *("--etcd-cafile", str(self._ca), "--etcd-certfile", certificate),
            *("--etcd-keyfile", private, "--etcd-username", "fwd", "--etcd-password", "secret"),
        ]

    def flows(self, to: Agent) -> list[Flow]:
        """TCP from n1 through the tunnel to n2, one a family; they end with the cluster at last."""
        stack = ExitStack()
        self._removals.append(stack.close)
        return [
            stack.enter_context(Flow(self.n1.name, self.n2.name, address))
            for address in addresses(to)
        ]

    def third(self, number: int) -> None:
        """It is at these addresses from now on, as flannel writes them."""
        at = self.third_at(number)
        mac = f"02:00:00:00:09:{number:02x}"
        value: dict[str, object] = {
            "PublicIP": at.get(4, "0.0.0.0"),
            "PublicIPv6": at.get(6),
            "BackendType": "vxlan",
        }
        data = {4: "BackendData", 6: "BackendV6Data"}
        value |= {data[family]: {"VNI": 1, "VtepMAC": mac} for family in at}
        key = key_of(facts.subnet(_THIRD) for facts in self.all_facts)
        self.etcd.ctl("put", SUBNETS + key, json.dumps(value))

    def third_at(self, number: int) -> dict[int, str]:
        """Its addresses then, by family."""
        return {facts.family: facts.underlay(f"n{number}") for facts in self.all_facts}

    def knows(self, agent: Agent, number: int) -> bool:
        """Whether an agent has the third node there."""
        wanted = self.third_at(number)
        known = peers(agent)
        return all(
            known.get(FACTS[family].subnet(_THIRD)) == address for family, address in wanted.items()
        )

    def know(self, agents: tuple[Agent, ...], number: int, *, limit: float) -> None:
        """Waits until all agents have the third node there."""
        for agent in agents:
            wait_for(
                f"the third node at {number}",
                lambda a=agent: self.knows(a, number),  # type: ignore[misc]
                limit,
            )

    def meet(self) -> tuple[Agent, Agent]:
        """Both forward to each other, and know the third node."""
        self.etcd.configure(self.conf)
        self.third(3)
        agents = self.start("n1"), self.start("n2")
        for agent in agents:
            agent.says("host-ready")
            count = 2 * len(self.families)
            wait_for("all peers", lambda a=agent, c=count: len(peers(a)) == c)  # type: ignore[misc]
        return agents


_THIRD = "n250"
"""By its subnets."""


def peers(agent: Agent) -> dict[str, str]:
    """Address by subnet."""
    return {one["subnet"]: one["public-ip"] for one in agent.status()["leases"]}


def tunnels(agent: Agent) -> list[dict[str, Any]]:
    """Of the status, by family."""
    return sorted(agent.status()["tunnels"], key=lambda one: int(one["family"]))


def subnets(agent: Agent) -> tuple[str, ...]:
    """The agent's own, one a family."""
    return tuple(one["subnet"] for one in tunnels(agent))


def addresses(agent: Agent) -> list[str]:
    """The agent's own in the cluster's network."""
    return [str(ip_network(subnet).network_address) for subnet in subnets(agent)]


def key_of(subnets: Iterable[str]) -> str:
    """As flannel makes a key: where there is no IPv4 subnet it begins with 0.0.0.0/0."""
    found = sorted(subnets, key=lambda one: ":" in one)
    if ":" in found[0]:
        found.insert(0, "0.0.0.0/0")
    return "&".join(one.replace("/", "-") for one in found)


@contextmanager
def running(directory: Path, *, families: Sequence[int] = (4,)) -> Iterator[EtcdCluster]:
    """A cluster, built, for as long as the context lasts."""
    made = EtcdCluster(directory, families=families)
    try:
        made.build()
        made.etcd.start()
        yield made
    finally:
        made.remove()
