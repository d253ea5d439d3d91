# SPDX-License-Identifier: Apache-2.0
"""Nodes and their keys in a real etcd: who gets which, restarts, others' hands, the end of time."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from ipaddress import ip_network
from typing import Any

import pytest

from tests.etcd_server import SUBNETS, EtcdServer
from tests.unit.endless_rounds import end_rounds
from tests.unit.etcd_member import SMALL, SOON, Member, access, member, until, value


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    with EtcdServer(tmp_path_factory.mktemp("etcd")) as server:
        server.start()
        yield server


@pytest.fixture
def etcd(running: EtcdServer) -> EtcdServer:
    """Empty but for the configuration."""
    running.ctl("del", "--prefix", "/")
    running.configure(SMALL)
    return running


async def published(etcd: EtcdServer, one: Member) -> None:
    """Its key is in etcd, with all of its value."""
    await until("it began", lambda: one.snapshot)
    await until("its value", lambda: etcd.leases().get(one.key) == value(one.number))


async def test_a_restart_finds_the_key_and_its_mac(etcd: EtcdServer) -> None:
    etcd.ctl("put", SUBNETS + "10.5.0.64-28", value(7).replace("192.168.0.7", "192.168.0.1"))
    async with member(access(etcd), 1) as one:
        await until("it began", lambda: one.snapshot)
        assert one.subnet == "10.5.0.64/28"
        assert one.leases[0].vtep_mac.hex(":") == "02:00:00:00:00:07"
        await asyncio.sleep(0.3)
    assert etcd.leases() == {"10.5.0.64-28": value(7).replace("192.168.0.7", "192.168.0.1")}


async def test_a_restart_renews_the_lease_and_changes_nothing_else(etcd: EtcdServer) -> None:
    async with member(access(etcd), 1) as one:
        await published(etcd, one)
        before = etcd.lease_id(one.key)
    revision = etcd.revision
    async with member(access(etcd), 1) as again:
        await published(etcd, again)
        await until("renewed", lambda: again.source._key._renew_at > 0)
        assert again.subnet == one.subnet
    assert (etcd.revision, etcd.lease_id(one.key)) == (revision, before)


async def test_a_reservation_is_taken_and_stays_one(etcd: EtcdServer) -> None:
    etcd.ctl("put", SUBNETS + "10.5.0.96-28", '{"PublicIP":"192.168.0.1"}')
    async with member(access(etcd), 1) as one:
        await published(etcd, one)
        assert one.key == "10.5.0.96-28"
        await asyncio.sleep(0.2)
        assert etcd.lease_id(one.key) == 0


async def test_the_subnet_of_an_earlier_subnet_env_is_taken_again(etcd: EtcdServer) -> None:
    async with member(access(etcd), 1, previous={4: ip_network("10.5.0.128/28")}) as one:
        await published(etcd, one)
        assert one.subnet == "10.5.0.128/28"


async def test_a_key_of_another_network_is_discarded(etcd: EtcdServer) -> None:
    grant = etcd.ctl("lease", "grant", "600").split()[1]
    etcd.ctl("put", "--lease", grant, SUBNETS + "10.6.1.0-24", value(1))
    async with member(access(etcd), 1) as one:
        await published(etcd, one)
        assert set(etcd.leases()) == {one.key}
        assert one.key.startswith("10.5.0.")


async def test_a_deleted_key_is_put_back_and_the_node_keeps_its_subnet(
    etcd: EtcdServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "fwd")
    async with member(access(etcd), 1) as one, member(access(etcd), 2) as two:
        await published(etcd, one)
        await until("the other knows", lambda: two.snapshot and len(two.peers) == 1)
        await published(etcd, two)
        await until("it says so", lambda: caplog.text.count("event=lease-published") == 2)
        caplog.clear()
        etcd.ctl("del", SUBNETS + one.key)
        await until("it says so", lambda: "event=lease-put-back" in caplog.text)
        assert etcd.leases().get(one.key) == value(1)
        assert etcd.lease_id(one.key) != 0
        assert len(one.owned) == 1
        assert (two.fewest, two.peers) == (1, {f"{one.subnet} 192.168.0.1"})
    assert [record.getMessage() for record in caplog.records] == [
        f'event=lease-put-back key={one.key} text="it had been deleted, or had expired"'
    ]


async def test_a_node_is_never_a_peer_of_itself(
    etcd: EtcdServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not either while it waits to hear that its key was put back: the watch may tell first."""
    async with member(access(etcd), 1, previous={4: ip_network("10.5.0.128/28")}) as one:
        await published(etcd, one)
        await asyncio.sleep(0.3)
        table, first = one.source._table, one.source._key._created
        transact = one.source._api.transact

        async def slow(*words: Any, **keys: Any) -> Any:  # noqa: ANN401
            answer = await transact(*words, **keys)
            await asyncio.sleep(0.5)
            return answer

        monkeypatch.setattr(one.source._api, "transact", slow)
        etcd.ctl("del", SUBNETS + one.key)
        etcd.ctl("put", SUBNETS + "10.5.0.240-28", value(9))
        await until("it is back", lambda: (entry := table.entry(one.key)) and entry.created > first)
        await until("the peer", lambda: "10.5.0.240/28 192.168.0.9" in one.peers)
        assert one.source._key.name == "", "it was heard of already: this test proves nothing"
        assert one.peers == {"10.5.0.240/28 192.168.0.9"}


async def test_what_somebody_writes_over_it_is_repaired(etcd: EtcdServer) -> None:
    async with member(access(etcd), 1) as one:
        await published(etcd, one)
        await asyncio.sleep(0.2)
        grant = f"{etcd.lease_id(one.key):x}"
        etcd.ctl("put", "--lease", grant, SUBNETS + one.key, value(3))
        await until("repaired", lambda: etcd.leases() == {one.key: value(1)})
        assert f"{etcd.lease_id(one.key):x}" == grant


async def test_somebody_who_keeps_deleting_it_is_not_answered_for_ever(
    etcd: EtcdServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with member(access(etcd), 1) as one:
        await published(etcd, one)
        for _ in range(6):
            await until("it is there", etcd.leases)
            etcd.ctl("del", SUBNETS + one.key)
        await until("it says so", lambda: "lease-fought-over" in caplog.text)
        assert len(one.owned) == 1


async def test_a_short_lease_is_renewed_in_time(etcd: EtcdServer) -> None:
    async with member(access(etcd), 1, ttl=3, margin=2.0) as one:
        await published(etcd, one)
        lease, revision = etcd.lease_id(one.key), etcd.revision
        await asyncio.sleep(4.5)
        assert etcd.leases() == {one.key: value(1)}
        assert (etcd.lease_id(one.key), etcd.revision) == (lease, revision)
    etcd.ctl("lease", "revoke", f"{lease:x}")  # or it ends while another test counts leases


@pytest.mark.parametrize(
    ("margin", "left"), [(3600.0, 82_800), (60.0, 86_340), (86_340.0, 60), (90_000.0, 43_200)]
)
async def test_a_lease_is_renewed_a_margin_before_its_end(
    etcd: EtcdServer, margin: float, left: int
) -> None:
    """One that is shorter than the margin when half of it is over."""
    async with member(access(etcd), 1, margin=margin) as one:
        await published(etcd, one)
        wait = one.source._key._renew_at - time.monotonic()
        assert left - SOON < wait <= left


async def test_a_lease_that_is_too_short_is_replaced(etcd: EtcdServer) -> None:
    grant = etcd.ctl("lease", "grant", "60").split()[1]
    etcd.ctl("put", "--lease", grant, SUBNETS + "10.5.0.16-28", value(1))
    async with member(access(etcd), 1) as one:
        await published(etcd, one)
        await until("replaced", lambda: etcd.lease_id(one.key) != int(grant, 16))
        assert etcd.leases() == {"10.5.0.16-28": value(1)}


async def test_both_families_are_one_key(etcd: EtcdServer) -> None:
    conf = SMALL | {"EnableIPv6": True, "IPv6Network": "fd00:5::/48"}
    async with member(access(etcd), 1, conf=conf) as one, member(access(etcd), 2, conf=conf) as two:
        await until("both know", lambda: one.snapshot and two.snapshot and len(two.peers) == 2)
        key4, _, key6 = next(key for key in etcd.leases() if key.startswith(one.key)).partition("&")
        await until("published", lambda: "BackendV6Data" in etcd.leases()[f"{key4}&{key6}"])
        assert [str(own.subnet) for own in one.snapshot.own] == [  # type: ignore[union-attr]
            key4.replace("-", "/"),
            key6.replace("-", "/"),
        ]


async def test_ipv6_alone_is_a_key_too(etcd: EtcdServer) -> None:
    conf = {
        "EnableIPv4": False,
        "EnableIPv6": True,
        "IPv6Network": "fd00:5::/48",
        "Backend": {"Type": "vxlan"},
    }
    async with member(access(etcd), 1, conf=conf) as one, member(access(etcd), 2, conf=conf) as two:
        await until("both know", lambda: one.snapshot and two.snapshot and len(two.peers) == 1)
        assert f"0.0.0.0-0&{one.key}" in etcd.leases()
        assert two.peers == {f"{one.subnet} fd00:50::1"}


async def test_nodes_that_draw_one_ipv6_subnet_draw_again(etcd: EtcdServer) -> None:
    """Different IPv4 subnets do not keep them apart: there are three for IPv6, and three nodes."""
    conf = SMALL | {"EnableIPv6": True, "IPv6Network": "fd00:5::/48", "IPv6SubnetLen": 50}
    to, lease_count = access(etcd), etcd.lease_count
    async with (
        member(to, 1, conf=conf) as one,
        member(to, 2, conf=conf) as two,
        member(to, 3, conf=conf) as three,
    ):
        await until("all began", lambda: one.snapshot and two.snapshot and three.snapshot)
        await asyncio.sleep(0.5)
        keys = [key.partition("&")[2] for key in etcd.leases()]
        assert len(set(keys)) == len(keys) == 3
        # Nor is anything left of what was drawn in vain.
        await until("as many leases", lambda: etcd.lease_count == lease_count + 3)


async def test_a_value_is_flannels_text_and_has_a_day(etcd: EtcdServer) -> None:
    async with member(access(etcd), 1) as one:
        await until(
            "published",
            lambda: "Backend" in etcd.leases().get(one.key, "") if one.snapshot else False,
        )
        assert etcd.leases() == {one.key: value(1)}
        lease = f"{etcd.lease_id(one.key):x}"
        assert "granted with TTL(86400s)" in etcd.ctl("lease", "timetolive", lease)


async def test_nodes_know_each_other_and_one_of_flannels(etcd: EtcdServer) -> None:
    etcd.ctl("put", SUBNETS + "10.5.0.240-28", value(9))
    async with member(access(etcd), 1) as one, member(access(etcd), 2) as two:
        await until("both began", lambda: one.snapshot and two.snapshot)
        await until(
            "each other",
            lambda: (
                one.peers == {"10.5.0.240/28 192.168.0.9", f"{two.subnet} 192.168.0.2"}
                and two.peers == {"10.5.0.240/28 192.168.0.9", f"{one.subnet} 192.168.0.1"}
            ),
        )


async def test_as_many_nodes_as_subnets_each_has_one_and_one_more_waits(etcd: EtcdServer) -> None:
    async with AsyncExitStack() as stack:
        members = [
            await stack.enter_async_context(member(access(etcd), number)) for number in range(1, 15)
        ]
        await until("all began", lambda: all(one.snapshot for one in members), limit=20)
        assert len({one.subnet for one in members}) == 14
        late = await stack.enter_async_context(member(access(etcd), 15))
        await until("it says so", lambda: "out of subnets" in late.source.state().detail)
        assert late.snapshot is None
        members[4].source.announce(())
        await end_rounds(members[4].source)
        etcd.ctl("del", SUBNETS + members[4].key)
        await until("the free one", lambda: late.snapshot)
        assert late.subnet == members[4].subnet
