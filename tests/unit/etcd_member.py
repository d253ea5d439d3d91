# SPDX-License-Identifier: Apache-2.0
"""A node of a network in etcd, as far as its source of leases goes: what the agent does with it."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import Any

import msgspec

from fwd.core.etcdclaim import Who
from fwd.core.netconf import parse_netconf
from fwd.model import Lease, Network, Snapshot
from fwd.sources.contact import Contact
from fwd.sources.etcd import EtcdSettings, EtcdSource
from fwd.sources.etcdaccess import EtcdAccess, make_access
from fwd.sources.etcdapi import EtcdApi
from fwd.sources.etcdlink import EtcdPatience
from fwd.sources.etcdown import TTL_SECONDS
from tests.etcd_server import PREFIX, EtcdServer

SOON = 20.0
"""Seconds: what has to come comes in a twentieth of it, but machines are busy."""
PATIENCE = EtcdPatience(connect=2.0, answer=2.0, quiet=0.5)
SMALL = {
    "Network": "10.5.0.0/24",
    "SubnetLen": 28,
    "SubnetMax": "10.5.0.224",  # the one after it is given to peers by the tests themselves
    "Backend": {"Type": "vxlan"},
}
"""Room for 15 nodes: the first subnet is nobody's."""


class Member:
    """Begins, announces, follows."""

    def __init__(self, source: EtcdSource, number: int) -> None:
        self.source = source
        self.number = number
        self.snapshot: Snapshot | None = None
        self.owned: list[tuple[Network, ...]] = []
        """What its own subnets were, one after the other."""
        self.fewest = -1
        """Peers at once, since there was one."""

    async def live(self) -> None:
        """As the agent does."""
        self._take(await self.source.first())
        async for said in self.source.changes():
            assert isinstance(said, Snapshot)
            self._take(said)

    def _take(self, said: Snapshot) -> None:
        self.snapshot = said
        if said.leases or self.fewest >= 0:
            count = len(said.leases)
            self.fewest = min(count, self.fewest) if self.fewest >= 0 else count
        subnets = tuple(own.subnet for own in said.own)
        if not self.owned or self.owned[-1] != subnets:
            self.owned.append(subnets)
            self.source.announce(self.leases)

    @property
    def leases(self) -> tuple[Lease, ...]:
        assert self.snapshot is not None
        return tuple(
            Lease(
                node=own.node,
                subnet=own.subnet,
                public_ip=address(self.number, own.family),
                vtep_mac=own.vtep_mac or mac(self.number),
                vni=1,
            )
            for own in self.snapshot.own
        )

    @property
    def subnet(self) -> str:
        assert self.snapshot is not None
        return str(self.snapshot.own[0].subnet)

    @property
    def key(self) -> str:
        return self.subnet.replace("/", "-")

    @property
    def peers(self) -> set[str]:
        """Subnet and address of each."""
        assert self.snapshot is not None
        return {f"{one.subnet} {one.public_ip}" for one in self.snapshot.leases}


def address(number: int, family: int = 4) -> Any:  # noqa: ANN401
    return ip_address(f"192.168.0.{number}" if family == 4 else f"fd00:50::{number:x}")


def mac(number: int) -> bytes:
    return bytes([2, 0, 0, 0, 0, number])


def value(number: int) -> str:
    """As flannel writes it for this node."""
    return (
        f'{{"PublicIP":"192.168.0.{number}","PublicIPv6":null,"BackendType":"vxlan",'
        f'"BackendData":{{"VNI":1,"VtepMAC":"02:00:00:00:00:{number:02x}"}}}}'
    )


def access(server: EtcdServer, *more: str) -> EtcdAccess:
    return make_access((*more, server.url))


@asynccontextmanager
async def member(
    to: EtcdAccess,
    number: int,
    *,
    conf: dict[str, Any] | None = None,
    previous: dict[int, Network] | None = None,
    ttl: int = TTL_SECONDS,
    margin: float = 3600.0,
) -> AsyncIterator[Member]:
    """A node at work, until the end of the block."""
    text = msgspec.json.encode(conf or SMALL)
    parsed = parse_netconf(text)

    async def who() -> Who:
        return Who(
            public_ips={family: address(number, family) for family in parsed.networks},
            previous=previous or {},
        )

    settings = EtcdSettings(f"n{number}", prefix=PREFIX, ttl=ttl, renew_margin=margin)
    api = EtcdApi(to, patience=PATIENCE)
    contact = Contact("etcd", server=lambda: api.server)
    source = EtcdSource(settings, parsed, conf_text=text, api=api, contact=contact, who=who)
    async with source:
        made = Member(source, number)
        living = asyncio.create_task(made.live())
        try:
            yield made
        finally:
            living.cancel()
            await asyncio.gather(living, return_exceptions=True)
    await close(api)


def guard(server: EtcdServer) -> None:
    """Gives it users: root, and fwd, who may do what flannel does under its prefix."""
    server.start()
    server.configure(SMALL)
    for words in (
        ("user", "add", "root:root"),
        ("role", "add", "root"),
        ("user", "grant-role", "root", "root"),
        ("user", "add", "fwd:secret"),
        ("role", "add", "flannel"),
        ("role", "grant-permission", "flannel", "readwrite", "--prefix=true", PREFIX),
        ("user", "grant-role", "fwd", "flannel"),
        ("auth", "enable"),
    ):
        server.ctl(*words)


class Relay:
    """A second way to an etcd, which can be cut."""

    def __init__(self, server: EtcdServer) -> None:
        host, port = server.url.rpartition("/")[2].split(":")
        self._target = host, int(port)
        self._flows: set[asyncio.StreamWriter] = set()
        self._listener: asyncio.Server | None = None
        self._port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def open(self) -> None:
        """At the same port as before, if it was open before."""
        self._listener = await asyncio.start_server(self._relay, "127.0.0.1", self._port)
        self._port = self._listener.sockets[0].getsockname()[1]

    def cut(self) -> None:
        if self._listener is not None:
            self._listener.close()
        for flow in self._flows:
            flow.close()
        self._flows.clear()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs, ours = await asyncio.open_connection(*self._target)
        self._flows.update((writer, ours))

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                sink.write(data)
            sink.close()

        await asyncio.gather(pump(reader, ours), pump(theirs, writer), return_exceptions=True)


@asynccontextmanager
async def relayed(server: EtcdServer) -> AsyncIterator[Relay]:
    relay = Relay(server)
    await relay.open()
    try:
        yield relay
    finally:
        relay.cut()


async def until(what: str, holds: Callable[[], Any], limit: float = SOON) -> float:
    """Waits until it holds; how long that took."""
    begun = time.monotonic()
    while not holds():
        assert time.monotonic() - begun < limit, f"not within {limit} s: {what}"
        await asyncio.sleep(0.01)
    return time.monotonic() - begun


async def close(api: EtcdApi) -> None:
    """And waits for what a connection does at its end, before its loop is gone."""
    await api.close()
    await asyncio.sleep(0.05)
