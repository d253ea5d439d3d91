# SPDX-License-Identifier: Apache-2.0
"""Answers that are late or lost while a node publishes: what it says of itself, and for how long.

Excluded: what it publishes (test_kube_node.py, test_etcd_source.py).
"""

import asyncio
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace

from fwd.core.etcdclaim import Full, Who
from fwd.core.etcdtable import Entry
from fwd.lab.apiserver.faults import Cut, Delay
from fwd.model import Lease, SourceState
from fwd.sources import etcdown
from fwd.sources.contact import NoAnswer
from fwd.sources.kubeapi import Patience
from tests.etcd_server import EtcdServer
from tests.unit import etcd_member, kube_member
from tests.unit.kube_server import serving
from tests.unit.kube_support import PREFIX, node_object

PUBLIC_IP = PREFIX + "public-ip"


async def is_over(state: Callable[[], SourceState]) -> None:
    """The cause of not being published is, and so is what is said of it."""
    await kube_member.until(lambda: "not published" in state().detail)
    await kube_member.until(lambda: "not published" not in state().detail)


async def test_a_patch_of_which_the_answer_was_lost_is_published() -> None:
    """Nothing else happens in this cluster, by which the node would look again."""
    own = {"set_node_network_unavailable": False, "patience": Patience(silence=60.0)}
    async with (
        serving(node_object(1, annotations={})) as server,
        kube_member.member(server, **own) as ours,
    ):
        server.fault(Cut(0), verb="patch")
        ours.announce()
        await is_over(ours.source.state)
        assert server.count("patch") == 1, "and nothing was to do again"


async def test_a_key_of_which_the_answer_was_lost_is_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with EtcdServer(tmp_path / "etcd") as server:
        server.start()
        server.configure(etcd_member.SMALL)
        async with etcd_member.member(etcd_member.access(server), 1) as ours:
            keys = ours.source._key._keys
            write = keys.write

            async def lose(entry: Entry, value: bytes, **words: Any) -> bool:  # noqa: ANN401
                monkeypatch.setattr(keys, "write", write)
                await write(entry, value, **words)
                raise NoAnswer("cannot write the lease: no answer in time")

            monkeypatch.setattr(keys, "write", lose)
            await is_over(ours.source.state)
            assert server.leases() == {ours.key: etcd_member.value(1)}


async def test_leases_that_are_announced_while_a_node_looks_who_it_is_are_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With no subnet free nothing else wakes it."""
    ours = Lease("n1", ip_network("10.5.0.16/28"), ip_address("192.168.0.1"), b"\x02\0\0\0\0\1", 1)
    asked: list[Who] = []

    async def look() -> Who:
        key.announce((ours,))
        return Who(public_ips={4: ours.public_ip})

    def decide(_table: object, _pools: object, who: Who, **_: object) -> Full:
        asked.append(who)
        return Full("none is free")

    monkeypatch.setattr(etcdown, "decide", decide)
    table: Any = SimpleNamespace(is_listed=True)
    nothing: Any = None
    key = etcdown.OwnKey(nothing, table, etcdown.Terms(pools={}), who=look, waiting=lambda _: None)
    key.seen()
    async with asyncio.timeout(5):
        while not asked:
            await key.round()
    assert [who.previous for who in asked] == [{4: ours.subnet}]


async def test_leases_that_are_announced_during_a_patch_are_published_and_not_repaired(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "fwd")
    async with (
        serving(node_object(1, annotations={})) as server,
        kube_member.member(server) as ours,
    ):
        server.fault(Delay(0.3), verb="patch")
        ours.announce()
        await ours.until("asked", lambda: server.count("patch") == 1)
        await asyncio.sleep(0.05)
        moved = ip_address("192.168.9.9")
        ours.source.announce(
            tuple(replace(one, public_ip=moved) for one in ours.source._node.leases)
        )
        await ours.until("moved", lambda: server.annotations("n1").get(PUBLIC_IP) == str(moved))
        await ours.until("up", lambda: "event=network-available" in caplog.text)
    assert caplog.text.count("event=lease-published") == 2
    assert "annotations-repaired" not in caplog.text
