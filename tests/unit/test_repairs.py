# SPDX-License-Identifier: Apache-2.0
"""Somebody keeps undoing what a node publishes: repairs wait, and nothing else does.

Excluded: a repair that fails (test_kube_faults.py, test_etcd_refusals.py).
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from fwd.core.etcdclaim import Who
from fwd.core.etcdrpc import KeyValue
from fwd.core.etcdtable import Entry, LeaseTable
from fwd.core.subnetpool import Pool
from fwd.model import Lease
from fwd.sources import repairs
from fwd.sources.etcdown import OwnKey, Terms
from fwd.sources.kubeapi import Patience
from fwd.sources.repairs import REPAIR_BURST, Repairs
from tests.etcd_server import SUBNETS, EtcdServer
from tests.unit import etcd_member, kube_member
from tests.unit.etcd_member import until, value
from tests.unit.kube_server import Server, serving
from tests.unit.kube_support import PREFIX, node_object

SOON = 3.0
"""Seconds: a tenth of the pause."""
PUBLIC_IP = PREFIX + "public-ip"
HERE = "192.168.0.1"
OWN = {4: ip_network("10.5.0.16/28")}
"""In etcd; had before, and so not one of those that this test gives to others."""


def leases(public_ip: str = HERE) -> tuple[Lease, ...]:
    """What n1 is to publish."""
    subnet = ip_network("10.244.1.0/24")
    return (Lease("n1", subnet, ip_address(public_ip), kube_member.MAC, 1),)


def address(server: Server) -> str | None:
    """Of n1, as others see it."""
    return server.annotations("n1").get(PUBLIC_IP)


def is_up(server: Server) -> bool:
    version = server.nodes.get("n1")
    assert version is not None
    conditions = version.decode()["status"]["conditions"]
    return "NetworkUnavailable" in {one["type"] for one in conditions}


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serving(node_object(1, annotations={})) as made:
        yield made


@pytest.fixture
async def ours(
    server: Server, caplog: pytest.LogCaptureFixture
) -> AsyncIterator[kube_member.Member]:
    """Has published, and has to wait before it repairs that again.

    No watch of it ends in between, by which it would look again.
    """
    async with kube_member.member(server, patience=Patience(silence=60.0)) as made:
        made.source.announce(leases())
        for _ in range(REPAIR_BURST + 1):
            await made.until("it is there", lambda: address(server) == HERE)
            server.change("n1", public_ip=None)
        await made.until("it says so", lambda: "annotations-fought-over" in caplog.text)
        yield made


async def test_another_address_is_published_at_once(
    server: Server, ours: kube_member.Member, caplog: pytest.LogCaptureFixture
) -> None:
    """And no repair: the next one waits as before."""
    ours.source.announce(leases("192.168.0.7"))
    await ours.until("published", lambda: address(server) == "192.168.0.7", SOON)
    patches = server.count("patch")
    server.change("n1", public_ip=None)
    await asyncio.sleep(0.5)
    assert address(server) is None
    assert server.count("patch") == patches
    assert "fought-over" not in caplog.text, "it was said when the pause began"


async def test_a_network_that_is_up_is_told_at_once(
    server: Server, ours: kube_member.Member
) -> None:
    """Pods wait for that, and the annotations were there once."""
    assert not is_up(server)
    ours.source.ready()
    await ours.until("told", lambda: is_up(server), SOON)
    assert address(server) is None


async def test_a_node_made_anew_is_told_at_once(server: Server, ours: kube_member.Member) -> None:
    ours.source.ready()
    server.nodes.delete("n1")
    server.nodes.put(node_object(1, annotations={}, created="2027-01-01T00:00:00Z"))
    await ours.until("published", lambda: address(server) == HERE, SOON)
    await ours.until("told", lambda: is_up(server), SOON)


async def test_what_others_write_ends_no_pause(
    server: Server, ours: kube_member.Member, caplog: pytest.LogCaptureFixture
) -> None:
    patches = server.count("patch")
    for turn in range(20):
        server.change("n1", public_ip=f"192.168.9.{turn}")
        await asyncio.sleep(0.02)
    assert ours.source.state().standing == "watching"
    assert server.count("patch") == patches
    assert "fought-over" not in caplog.text, "it was said when the pause began"


@pytest.fixture
def short_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked for before whoever repairs."""
    monkeypatch.setattr(repairs, "REPAIR_SECONDS", 2.0)


@pytest.mark.usefixtures("short_pause", "ours")
async def test_after_the_pause_it_is_put_back(server: Server) -> None:
    """By itself."""
    assert address(server) is None
    await kube_member.until(lambda: address(server) == HERE)


async def test_each_pause_is_told_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(repairs, "REPAIR_SECONDS", 0.5)
    woken = asyncio.Event()
    ours = Repairs(wake=woken.set)
    for _ in range(REPAIR_BURST):
        assert ours.may("fought-over")
        ours.done()
    for pauses in (1, 2):
        assert not ours.may("fought-over")
        async with asyncio.timeout(SOON):
            while not ours.may("fought-over"):
                await woken.wait()
                woken.clear()
        ours.done()
        assert len(caplog.records) == pauses


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[EtcdServer]:
    with EtcdServer(tmp_path / "etcd") as made:
        made.start()
        made.configure(etcd_member.SMALL)
        yield made


@pytest.fixture(params=["written over", "deleted"])
async def node(
    etcd: EtcdServer, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> AsyncIterator[etcd_member.Member]:
    """Has published, and has to wait before it repairs that again."""
    async with etcd_member.member(etcd_member.access(etcd), 1, previous=OWN) as made:
        await until("it has a key", lambda: made.snapshot)
        for _ in range(REPAIR_BURST + 1):
            await until("it is there", lambda: etcd.leases().get(made.key) == value(1))
            spoil_key(etcd, made.key, request.param)
        await until("it says so", lambda: "lease-fought-over" in caplog.text)
        yield made


def spoil_key(etcd: EtcdServer, key: str, how: str) -> None:
    """Behind the node's back."""
    if how == "deleted":
        etcd.ctl("del", SUBNETS + key)
    else:
        etcd.ctl("put", "--lease", f"{etcd.lease_id(key):x}", SUBNETS + key, value(3))


async def test_in_etcd_another_address_is_published_at_once(
    etcd: EtcdServer, node: etcd_member.Member, caplog: pytest.LogCaptureFixture
) -> None:
    """And no repair: the next one waits as before."""
    wanted = value(1).replace("192.168.0.1", "192.168.0.7")
    (lease,) = node.leases
    moved = Lease(lease.node, lease.subnet, ip_address("192.168.0.7"), lease.vtep_mac, lease.vni)
    node.source.announce((moved,))
    await until("published", lambda: etcd.leases() == {node.key: wanted}, SOON)
    spoil_key(etcd, node.key, "deleted")
    await asyncio.sleep(0.5)
    assert etcd.leases() == {}
    assert "fought-over" not in caplog.text, "it was said when the pause began"


@pytest.mark.usefixtures("short_pause")
async def test_in_etcd_after_the_pause_it_is_put_back(
    etcd: EtcdServer, node: etcd_member.Member
) -> None:
    assert etcd.leases() != {node.key: value(1)}
    await until("it is back", lambda: etcd.leases() == {node.key: value(1)})


async def test_in_etcd_what_others_write_ends_no_pause(
    etcd: EtcdServer, node: etcd_member.Member, caplog: pytest.LogCaptureFixture
) -> None:
    before = etcd.leases()
    for number in range(5, 10):
        etcd.ctl("put", SUBNETS + f"10.5.0.{number * 16}-28", value(number))
    await until("they are known", lambda: len(node.peers) >= 5)
    await asyncio.sleep(0.3)
    assert etcd.leases().get(node.key) == before.get(node.key)
    assert "fought-over" not in caplog.text, "it was said when the pause began"


class Hostile:
    """A store in which somebody deletes each new key before its maker hears that it is there."""

    def __init__(self, table: LeaseTable) -> None:
        self.is_at_war = False
        self.created: list[bytes] = []
        """What the keys were to be."""
        self._table = table
        self._revision = 1

    async def create(self, name: str, value: bytes, *, ttl: int) -> Entry | None:
        assert ttl
        await asyncio.sleep(0)
        self.created.append(value)
        self._revision += 1
        at = self._revision
        self._table.put(KeyValue(self._table.key(name), at, at, value=value, lease=at))
        entry = self._table.entry(name)
        if self.is_at_war:
            self.delete(name)
        return entry

    def delete(self, name: str) -> None:
        self._revision += 1
        self._table.delete(KeyValue(self._table.key(name), mod_revision=self._revision))


async def test_in_etcd_another_address_that_is_deleted_at_once_is_news_once() -> None:
    """The key is gone whenever the node looks, so that it never sees its new value there."""
    (subnet,) = OWN.values()
    before, after = (
        Lease("n1", subnet, ip_address(f"192.168.0.{number}"), etcd_member.mac(1), 1)
        for number in (1, 7)
    )
    table = LeaseTable(prefix=SUBNETS, families=(4,), vni=1)
    table.replace([], revision=1)
    hostile: Any = Hostile(table)

    async def who() -> Who:
        return Who(public_ips={4: before.public_ip}, previous=OWN)

    first = int(subnet.network_address)
    terms = Terms(pools={4: Pool(4, subnet.prefixlen, first, first)})
    ours = OwnKey(hostile, table, terms, who=who, waiting=lambda _: None)

    async def work() -> None:
        while True:
            await ours.round()

    ours.announce((before,))
    working = asyncio.create_task(work())
    try:
        await until("it has a key", lambda: ours.name, SOON)
        hostile.created.clear()
        hostile.is_at_war = True
        hostile.delete(ours.name)
        ours.announce((after,))
        await asyncio.sleep(0.5)
        assert not working.done()
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
    assert set(hostile.created) == {etcd_member.value(7).replace(":07", ":01").encode()}
    assert len(hostile.created) == REPAIR_BURST + 1
