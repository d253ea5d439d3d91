# SPDX-License-Identifier: Apache-2.0
"""etcd goes away, comes back, and comes back as another one: the table is the truth soon after.

The same with agents and packets that must not stop: tests/netns/test_agent_etcd.py.
"""

import asyncio
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path

import pytest
from msgspec.structs import replace

from fwd.sources import etcd as source_module
from fwd.sources.etcdaccess import make_access
from tests.etcd_server import SUBNETS, EtcdServer
from tests.unit.etcd_member import (
    SMALL,
    Member,
    access,
    address,
    member,
    relayed,
    until,
    value,
)

OWN = {4: ip_network("10.5.0.16/28")}
"""Had before, and so not one of those that tests give to others."""


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[EtcdServer]:
    with EtcdServer(tmp_path / "etcd") as server:
        server.start()
        server.configure(SMALL)
        yield server


def own_lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "fwd"]


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The events of etcd itself and of this node's key, without what led to the first lease."""
    events = [line.removeprefix("event=").partition(" ")[0] for line in own_lines(caplog)]
    assert "lease-published" in events
    begun = events.index("lease-published") + 1
    return [event for event in events[begun:] if event.startswith(("etcd", "lease", "own"))]


async def lost(one: Member, caplog: pytest.LogCaptureFixture) -> None:
    """Waits until a node says that etcd is away."""
    await until("it says so", lambda: "event=etcd error=" in caplog.text)
    assert one.source.state().standing == "away"


async def begun(*members: Member) -> None:
    await until("all began", lambda: all(one.snapshot for one in members))
    await until(
        "they know each other", lambda: all(len(one.peers) >= len(members) - 1 for one in members)
    )


async def test_after_a_restart_with_compaction_the_table_is_the_truth(
    etcd: EtcdServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "fwd")
    etcd.ctl("put", SUBNETS + "10.5.0.240-28", value(9))
    async with member(access(etcd), 1, previous=OWN) as one:
        await until("the peer", lambda: one.snapshot and one.peers == {"10.5.0.240/28 192.168.0.9"})
        await until("published", lambda: etcd.leases().get(one.key) == value(1))
        kept = one.snapshot
        etcd.stop()
        await lost(one, caplog)
        # Behind its back: another agent of the same etcd, which is another process to ours.
        etcd.start()
        etcd.ctl("put", SUBNETS + "10.5.0.224-28", value(8))
        etcd.ctl("del", SUBNETS + "10.5.0.240-28")
        etcd.ctl("compact", str(etcd.revision))
        await until("the truth", lambda: one.peers == {"10.5.0.224/28 192.168.0.8"})
        assert kept is not one.snapshot
        assert len(one.owned) == 1
        await until("it says so", lambda: told(caplog) == ["etcd", "etcd-connected"])


async def test_history_that_is_cut_behind_a_node_is_one_line_and_a_list(
    etcd: EtcdServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Between its list and its watch."""
    caplog.set_level("INFO", "fwd")
    async with member(access(etcd), 1, previous=OWN) as one:
        watch, is_cut = one.source._watch, False

        async def pulse() -> None:
            nonlocal is_cut
            if not is_cut:
                is_cut = True
                for number in (8, 9):
                    etcd.ctl("put", SUBNETS + f"10.5.0.{number * 16}-28", value(number))
                etcd.ctl("compact", str(etcd.revision))

        watch._pulse = pulse
        await until("it says so", lambda: "event=etcd-compacted" in caplog.text)
        etcd.ctl("put", SUBNETS + "10.5.0.112-28", value(7))
        await until("the peers", lambda: one.snapshot and len(one.peers) == 3)
    assert caplog.text.count("event=etcd-compacted") == 1
    assert "event=etcd error" not in caplog.text


async def test_a_store_of_another_time_is_the_truth_too(
    etcd: EtcdServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Its revisions are smaller, then the same, than those that were heard: no watch would tell."""
    caplog.set_level("INFO", "fwd")
    async with member(access(etcd), 1, previous=OWN) as one:
        await begun(one)
        await until("published", lambda: etcd.leases().get(one.key) == value(1))
        etcd.ctl("put", SUBNETS + "10.5.0.240-28", value(9))
        await until("the peer", lambda: len(one.peers) == 1)
        snapshot = etcd.snapshot()
        for number in (2, 3, 4):
            etcd.ctl("put", SUBNETS + f"10.5.0.{number * 16}-28", value(number))
        etcd.ctl("del", SUBNETS + "10.5.0.240-28")
        await until("the others", lambda: len(one.peers - {f"{one.subnet} 192.168.0.1"}) >= 2)
        etcd.stop()
        await lost(one, caplog)
        etcd.restore(snapshot)
        etcd.start()
        await until("the peer of then", lambda: one.peers == {"10.5.0.240/28 192.168.0.9"})
        assert len(one.owned) == 1
        expected = ["etcd", "etcd-connected", "etcd-went-back"]
        await until("it says so", lambda: sorted(told(caplog)) == expected)


async def test_a_lease_whose_time_came_while_its_node_was_cut_off_is_put_back(
    etcd: EtcdServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Others miss it meanwhile: etcd is the truth.  Not so the node itself."""
    caplog.set_level("INFO", "fwd")
    async with relayed(etcd) as relay, member(access(etcd), 2) as two:
        cut_off = make_access((relay.url,))
        async with member(cut_off, 1, previous=OWN, ttl=2, margin=1.0) as one:
            await begun(one, two)
            await until("published", lambda: caplog.text.count("event=lease-published") == 2)
            peers = one.peers
            caplog.clear()
            relay.cut()
            await until("it has ended", lambda: one.key not in etcd.leases())
            await until("the truth", lambda: two.peers == set())
            assert one.peers == peers
            await relay.open()
            await until("it says so", lambda: "event=lease-put-back" in caplog.text)
            await until("the truth", lambda: two.peers == {f"{one.subnet} 192.168.0.1"})
            assert one.peers == peers
            assert len(one.owned) == 1
            await until("it is back", lambda: one.source.state().standing == "watching")
            assert sorted(line.partition(" ")[0] for line in own_lines(caplog)) == [
                "event=etcd",
                "event=etcd-connected",
                "event=lease-put-back",
            ]


async def test_a_lease_that_ended_meanwhile_is_taken_again(
    etcd: EtcdServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Of two nodes that come back at different times neither misses the other."""
    caplog.set_level("INFO", "fwd")
    own = member(access(etcd), 1, previous=OWN, ttl=2, margin=1.0)
    async with own as one, member(access(etcd), 2) as two:
        await begun(one, two)
        await until("published", lambda: etcd.leases().get(one.key) == value(1))
        etcd.stop()
        caplog.clear()
        await lost(one, caplog)
        etcd.start()
        etcd.ctl("lease", "revoke", f"{etcd.lease_id(one.key):x}")
        await until("it says so", lambda: "event=lease-put-back" in caplog.text)
        assert etcd.leases().get(one.key) == value(1)
        assert len(one.owned) == 1
        for each in (one, two):
            await until("it is back", lambda e=each: e.source.state().standing == "watching")  # type: ignore[misc]
        assert two.fewest == 1
        text = caplog.text
    assert text.count("event=lease-put-back") == 1
    back = [line for line in text.splitlines() if "event=etcd-connected" in line]
    assert len(back) == 2
    # What took no longer than the first retry is told with the new connection.
    assert text.count("event=etcd error=") + sum(" error=" in line for line in back) == 2


async def test_who_cannot_put_its_lease_back_is_not_dropped_for_that(
    etcd: EtcdServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """etcd goes away again before a lease that is missing can be back."""
    monkeypatch.setattr(source_module, "LINGER_SECONDS", 1.5)
    monkeypatch.setattr(source_module, "RETURN_SECONDS", 1.0)
    etcd.ctl("put", SUBNETS + "10.5.0.240-28", value(9))
    async with member(access(etcd), 1, previous=OWN) as one:
        await begun(one)
        await until("published", lambda: etcd.leases().get(one.key) == value(1))
        etcd.ctl("del", SUBNETS + "10.5.0.240-28")
        await until("it is known", lambda: len(one.source._table) == 1)
        etcd.stop()
        await lost(one, caplog)
        await asyncio.sleep(2.0)
        assert one.peers == {"10.5.0.240/28 192.168.0.9"}
        etcd.start()
        await until("the truth", lambda: one.peers == set())


async def test_a_subnet_that_another_node_has_by_now_is_given_up(
    etcd: EtcdServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with member(access(etcd), 1, previous=OWN) as one:
        await until("published", lambda: one.snapshot and etcd.leases().get(one.key) == value(1))
        first = one.key
        snapshot = etcd.snapshot()
        etcd.stop()
        etcd.restore(snapshot)
        etcd.start()
        # Before our agent is back; a moment in which it is back is one more case.
        etcd.ctl("del", SUBNETS + first)
        etcd.ctl("put", SUBNETS + first, value(7))
        await until("the other one has it", lambda: "192.168.0.7" in etcd.leases().get(first, ""))
        await until("another subnet", lambda: one.key != first, limit=15)
        await until("published", lambda: etcd.leases().get(one.key) == value(1))
        assert etcd.leases()[first] == value(7)
        assert "192.168.0.7" in str(one.peers)
    lines = [line for line in own_lines(caplog) if "own-subnet-changed" in line]
    assert len(lines) == 1
    assert f"{first} belongs to another node by now" in lines[0]


async def test_the_next_endpoint_is_taken_when_one_dies(
    etcd: EtcdServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Two ways to one store: the first one, through a relay, is cut."""
    caplog.set_level("INFO", "fwd")
    async with (
        relayed(etcd) as relay,
        member(access(etcd, relay.url), 1, previous=OWN) as one,
    ):
        await begun(one)
        await until("connected", lambda: one.source.state().kind == f"etcd {relay.url}")
        relay.cut()
        etcd.ctl("put", SUBNETS + "10.5.0.240-28", value(9))
        await until("the news", lambda: one.peers == {"10.5.0.240/28 192.168.0.9"})
        assert one.source.state().kind == f"etcd {etcd.url}"
        there = f"event=etcd-connected server={etcd.url} "
        await until("its line", lambda: there in caplog.text)  # the news come before it
    (*_, back) = (line for line in own_lines(caplog) if line.startswith("event=etcd"))
    assert back.startswith(there)
    assert back.endswith(f'{relay.url}: the connection broke off"')
    assert "event=etcd error=" not in caplog.text


async def test_an_endpoint_that_falls_silent_is_left(etcd: EtcdServer) -> None:
    """It takes connections and what is sent, and never says a word."""

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            pass
        writer.close()

    silent = await asyncio.start_server(mute, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{silent.sockets[0].getsockname()[1]}"
    try:
        async with member(access(etcd, url), 1, previous=OWN) as one:
            await begun(one)
    finally:
        silent.close()
        await silent.wait_closed()


async def test_a_new_address_of_this_node_goes_into_its_key(etcd: EtcdServer) -> None:
    async with member(access(etcd), 1, previous=OWN) as one:
        await until("published", lambda: one.snapshot and etcd.leases().get(one.key) == value(1))
        one.source.reconnect()
        one.source.announce(tuple(replace(own, public_ip=address(5)) for own in one.leases))
        moved, lease = value(1).replace("192.168.0.1", "192.168.0.5"), etcd.lease_id(one.key)
        await until("published", lambda: etcd.leases() == {one.key: moved})
        assert etcd.lease_id(one.key) == lease != 0


async def test_a_configuration_that_changes_is_said(
    etcd: EtcdServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with member(access(etcd), 1, previous=OWN) as one:
        await begun(one)
        etcd.configure(SMALL | {"SubnetLen": 27})
        await until("said", lambda: "net-conf-changed" in caplog.text)
