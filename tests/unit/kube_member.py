# SPDX-License-Identifier: Apache-2.0
"""A KubeSource at work, the latest snapshot that it gave, and whether that is the truth.

Every wait is bounded.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import Any

import msgspec
import pytest

from fwd.core.netconf import parse_netconf
from fwd.core.nodetable import NodeTable
from fwd.model import Lease, OwnLease, Refusal, Snapshot
from fwd.sources.kube import KubeSettings, KubeSource
from fwd.sources.kubeapi import Patience
from fwd.sources.kubeclient import ApiAccess
from fwd.sources.kubewatch import Pace
from tests.unit.in_family import said
from tests.unit.kube_server import Server
from tests.unit.kube_support import decoder, node_in, node_object

WAIT_SECONDS = 10.0
RETURN_SECONDS = 5.0
"""Within which the table must be right after whatever it was."""
Families = Sequence[int]
BOTH: Families = (4, 6)
"""At once, for what takes time."""
EACH = pytest.mark.parametrize("families", [(4,), (6,), BOTH], ids=["IPv4", "IPv6", "dual"])
CONF = {
    (4,): parse_netconf('{"Network": "10.244.0.0/16", "Backend": {"Type": "vxlan"}}'),
    (6,): parse_netconf(
        '{"EnableIPv4": false, "EnableIPv6": true, "IPv6Network": "fd00:244::/48",'
        ' "Backend": {"Type": "vxlan"}}'
    ),
    (4, 6): parse_netconf(
        '{"Network": "10.244.0.0/16", "EnableIPv6": true, "IPv6Network": "fd00:244::/48",'
        ' "Backend": {"Type": "vxlan"}}'
    ),
}
"""By the families that are on."""
UNDERLAY = {4: ip_address("192.168.0.1"), 6: ip_address("fd02::1")}
QUICK = Patience(connect=1.0, answer=1.0, silence=1.5)
MAC = b"\x02\0\0\0\0\1"


def nodes(families: Families) -> list[dict[str, Any]]:
    """n1 to n4."""
    return [node_in(families, number) for number in range(1, 5)]


def of_each(families: Families, text: str) -> set[str]:
    """A text, in each family."""
    return {said(family, text) for family in families}


async def until(done: Callable[[], object], seconds: float = WAIT_SECONDS) -> None:
    """Polls: what is waited for has no event of its own.  Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not done():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


class Member:
    """What an agent would know."""

    def __init__(self, source: KubeSource, families: Families = (4,)) -> None:
        self.source = source
        self.families = families
        self.last: Snapshot | None = None
        self.count = 0

    @property
    def leases(self) -> dict[str, Lease]:
        return {} if self.last is None else {lease.node: lease for lease in self.last.leases}

    def at(self, name: str) -> set[str]:
        """The addresses of a node, one a family."""
        leases = () if self.last is None else self.last.leases
        return {str(lease.public_ip) for lease in leases if lease.node == name}

    @property
    def own(self) -> tuple[OwnLease, ...]:
        assert self.last is not None
        return self.last.own

    @property
    def subnets(self) -> set[str]:
        """This node's."""
        return {str(one.subnet) for one in self.own}

    async def follow(self) -> None:
        async for news in self.source.changes():
            assert isinstance(news, Snapshot)
            self.last = news
            self.count += 1

    async def until(self, what: str, done: Callable[[], object], seconds: float = 0) -> None:
        try:
            await until(done, seconds or WAIT_SECONDS)
        except TimeoutError:
            raise AssertionError(f"{what}: not in time; {self.source.state()}") from None

    def announce(self) -> None:
        """As the agent does when it forwards."""
        assert self.last is not None
        self.source.announce(tuple(map(_settled, self.last.own)))
        self.source.ready()


def _settled(own: OwnLease) -> Lease:
    public_ip, mac = own.public_ip or UNDERLAY[own.family], own.vtep_mac or MAC
    return Lease(own.node, own.subnet, public_ip, mac, 1)


def source(server: Server, **settings: Any) -> KubeSource:  # noqa: ANN401
    conf = CONF[settings.pop("families", (4,))]
    pace = settings.pop("pace", None)
    patience = settings.pop("patience", QUICK)
    given: dict[str, Any] = {"node_name": "n1", "access": ApiAccess(url=server.url)} | settings
    return KubeSource(KubeSettings(**given), conf, patience=patience, pace=pace or Pace())


@asynccontextmanager
async def member(server: Server, **settings: Any) -> AsyncIterator[Member]:  # noqa: ANN401
    """One that has its first snapshot and follows."""
    async with source(server, **settings) as made:
        ours = Member(made, settings.get("families", (4,)))
        async with asyncio.timeout(WAIT_SECONDS):
            ours.last = await made.first()
        task = asyncio.create_task(ours.follow())
        try:
            yield ours
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


Truth = tuple[tuple[Lease, ...], tuple[Refusal, ...]]


def truth(server: Server, families: Families = (4,)) -> Truth:
    """Leases and refusals as they are computed from the server's whole state."""
    table = NodeTable(families=families, vni=1)
    found = [decoder.node(version.raw) for version in server.nodes.state()]
    table.replace(found)
    return table.leases(), table.refusals()


def agrees(ours: Member, server: Server) -> bool:
    assert ours.last is not None
    return (ours.last.leases, ours.last.refused) == truth(server, ours.families)


async def settle(ours: Member, server: Server) -> None:
    await ours.until("the truth", lambda: agrees(ours, server), RETURN_SECONDS)


def shake(server: Server, dice: random.Random) -> None:
    """A change that matters, of any kind and in any family."""
    families = dice.choice([(4,), (6,), (4, 6)])
    number = dice.randrange(2, 9)
    match dice.randrange(4):
        case 0 if server.nodes.get(f"n{number}"):
            server.nodes.delete(f"n{number}")
        case 1:
            made = node_object(number, families=families, kube_subnet_manager=None)
            server.nodes.put(made)
        case _:
            server.nodes.put(
                node_object(number, families=families, **moved(dice, families, number))
            )


def moved(dice: random.Random, families: Families, number: int) -> dict[str, Any]:
    """Annotations for other addresses."""
    turn = dice.randrange(1, 9)
    of = {4: {"public_ip": f"192.168.{turn}.{number}"}, 6: {"public_ipv6": f"fd0{turn}::{number}"}}
    return {key: text for family in families for key, text in of[family].items()}


def event(kind: str, whole: dict[str, Any]) -> bytes:
    return msgspec.json.encode({"type": kind, "object": whole}) + b"\n"
