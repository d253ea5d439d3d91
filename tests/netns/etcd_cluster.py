# SPDX-License-Identifier: Apache-2.0
"""The two nodes of agent_support in etcd mode, an etcd on n1, and TCP between them.

A third node exists in etcd only, as flannel would have written it.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from fwd.lab.flow import Flow
from tests.certificates import Authority
from tests.etcd_server import SUBNETS, EtcdServer
from tests.netns.agent_support import Agent, Cluster, wait_for

CONF: dict[str, object] = {
    "Network": "10.244.0.0/16",
    "EnableNFTables": True,
    "Backend": {"Type": "vxlan"},
}
THIRD = SUBNETS + "10.244.250.0-24"


class EtcdCluster(Cluster):
    """n1 and n2 with leases from etcd, by TLS with certificates and a user, if etcd wants one."""

    def build(self) -> None:
        super().build()
        authority, other = (Authority(self.directory, name) for name in ("authority", "stranger"))
        host = "192.168.50.1"
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

    def certify(self, *, is_right: bool) -> None:
        """What agents have in their files is of the right authority from now on, or of another."""
        right, wrong = self._certificates
        for path, other in zip(self._own, right if is_right else wrong, strict=False):
            path.write_bytes(other.read_bytes())

    def source_flags(self, name: str) -> list[str]:
        certificate, private = map(str, self._own)
        return [
            *("--iface", f"u{name[1:]}"),
            *("--etcd-endpoints", f"https://192.168.50.1:9,{self.etcd.url}"),
            *("--etcd-cafile", str(self._ca), "--etcd-certfile", certificate),
            *("--etcd-keyfile", private, "--etcd-username", "fwd", "--etcd-password", "secret"),
        ]

    def flow(self, to: Agent) -> Flow:
        """TCP from n1 through the tunnel to n2; ends with the cluster at the latest."""
        stack = ExitStack()
        self._removals.append(stack.close)
        return stack.enter_context(Flow(self.n1.name, self.n2.name, address(to)))

    def third(self, number: int) -> None:
        """It is at this address from now on."""
        data = f'{{"VNI":1,"VtepMAC":"02:00:00:00:09:{number:02x}"}}'
        self.etcd.ctl(
            "put",
            THIRD,
            f'{{"PublicIP":"192.168.50.{number}","PublicIPv6":null,"BackendType":"vxlan",'
            f'"BackendData":{data}}}',
        )

    def know(self, agents: tuple[Agent, ...], number: int, *, limit: float) -> None:
        """Waits until all agents have the third node there."""
        for agent in agents:
            wait_for(
                f"the third node at {number}",
                lambda a=agent: peers(a).get("10.244.250.0/24") == f"192.168.50.{number}",  # type: ignore[misc]
                limit,
            )


def peers(agent: Agent) -> dict[str, str]:
    """Address by subnet."""
    return {one["subnet"]: one["public-ip"] for one in agent.status()["leases"]}


def subnet(agent: Agent) -> IPv4Network:
    """The agent's own."""
    own: dict[str, Any] = agent.tunnel()
    return IPv4Network(own["subnet"])


def address(agent: Agent) -> str:
    """The agent's own in the cluster's network."""
    return str(subnet(agent).network_address)


@contextmanager
def running(directory: Path) -> Iterator[EtcdCluster]:
    """A cluster, built, for as long as the context lasts."""
    made = EtcdCluster(directory)
    try:
        made.build()
        made.etcd.start()
        yield made
    finally:
        made.remove()
