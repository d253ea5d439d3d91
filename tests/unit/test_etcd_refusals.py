# SPDX-License-Identifier: Apache-2.0
"""A real etcd that lets a node read and not write, or does not say what became of a write."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_network
from typing import Any

import pytest

from fwd.core.etcdtable import LeaseTable
from fwd.sources import contact as contact_module
from fwd.sources.contact import NoAnswer
from fwd.sources.etcdaccess import EtcdAccess, make_access
from fwd.sources.etcdapi import EtcdApi
from fwd.sources.etcdkeys import LeaseKeys
from fwd.sources.etcdlink import Refused, Unreachable
from tests.etcd_server import PREFIX, SUBNETS, EtcdServer
from tests.ports import free_port
from tests.unit.etcd_member import Member, access, close, member, until, value

OWN = {4: ip_network("10.5.0.16/28")}
TTL = 600


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is refused is tried again ten times a second."""
    monkeypatch.setattr(contact_module, "RETRY_FIRST_SECONDS", 0.1)
    monkeypatch.setattr(contact_module, "RETRY_LONGEST_SECONDS", 0.1)


def allow(server: EtcdServer, what: str) -> None:
    server.ctl("role", "grant-permission", "flannel", what, "--prefix=true", PREFIX)


def fwd(server: EtcdServer) -> EtcdAccess:
    return make_access((server.url,), user=("fwd", "secret"))


@asynccontextmanager
async def asked(to: EtcdAccess) -> AsyncIterator[EtcdApi]:
    api = EtcdApi(to)
    try:
        yield api
    finally:
        await close(api)


def keys_of(api: EtcdApi) -> LeaseKeys:
    return LeaseKeys(api, LeaseTable(prefix=SUBNETS, families=[4], vni=1), learned=lambda: None)


def counted(one: Member, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What it asks etcd to write, from now on."""
    asked: list[str] = []
    transact = one.source._api.transact

    async def counting(request: Any, *, doing: str) -> Any:  # noqa: ANN401
        asked.append(doing)
        return await transact(request, doing=doing)

    monkeypatch.setattr(one.source._api, "transact", counting)
    return asked


async def test_a_subnet_that_may_not_be_taken_leaves_no_lease_and_one_line(
    guarded: EtcdServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    allow(guarded, "read")
    async with member(fwd(guarded), 1) as one:
        asked = counted(one, monkeypatch)
        await until("some tries", lambda: len(asked) > 8)
        allow(guarded, "readwrite")
        await until("published", lambda: one.snapshot and guarded.leases().get(one.key) == value(1))
        await until("one lease", lambda: guarded.lease_count == 1)
    lines = [line for line in caplog.messages if "permission denied" in line]
    what = "permission denied: the role of user fwd does not allow it"
    assert lines == [f'event=etcd error="cannot take a subnet: {what}"']


async def test_a_lease_that_may_not_be_replaced_leaves_no_other(
    guarded: EtcdServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is of another time than this node wants."""
    async with member(fwd(guarded), 1, previous=OWN, ttl=TTL) as one:
        await until("published", lambda: guarded.leases() == {"10.5.0.16-28": value(1)})
    allow(guarded, "read")
    async with member(fwd(guarded), 1) as one:
        asked = counted(one, monkeypatch)
        await until("some tries", lambda: len(asked) > 3)
        await until("none between two tries", lambda: guarded.lease_count == 1)
    assert guarded.leases() == {"10.5.0.16-28": value(1)}


async def test_what_etcd_refuses_to_put_back_is_nobodys_fight(
    guarded: EtcdServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither a key that is gone, nor one whose value is not what it was."""
    async with member(fwd(guarded), 1, previous=OWN) as one:
        await until("published", lambda: one.snapshot and guarded.leases().get(one.key) == value(1))
        asked = counted(one, monkeypatch)
        for spoil in (("del",), ("put", "--lease", f"{guarded.lease_id(one.key):x}")):
            allow(guarded, "read")
            asked.clear()
            guarded.ctl(*spoil, SUBNETS + one.key, *([value(3)] if "put" in spoil else []))
            await until("some tries", lambda: len(asked) > 8)
            allow(guarded, "readwrite")
            await until("it is back", lambda: guarded.leases() == {one.key: value(1)})
            await until("it is known", lambda: not one.source._contact.unpublished)
    assert "lease-fought-over" not in caplog.text
    assert caplog.text.count("event=lease-put-back") == 1
    assert caplog.text.count("event=lease-repaired") == 1


@pytest.mark.parametrize("is_done", [True, False], ids=["done", "not done"])
async def test_a_key_that_nobody_answered_for_is_not_left_over(
    etcd: EtcdServer, monkeypatch: pytest.MonkeyPatch, *, is_done: bool
) -> None:
    """It may be there: its lease ends once the node has another one, which stays."""
    async with asked(access(etcd)) as api:
        keys, transact = keys_of(api), api.transact

        async def unheard(request: Any, *, doing: str) -> Any:  # noqa: ANN401
            if is_done:
                await transact(request, doing=doing)
            raise Unreachable(f"cannot {doing}: no answer in time")

        with monkeypatch.context() as patched:
            patched.setattr(api, "transact", unheard)
            with pytest.raises(NoAnswer):
                await keys.create("10.5.0.16-28", b"{}", ttl=TTL)
        assert etcd.leases() == ({"10.5.0.16-28": "{}"} if is_done else {})
        assert etcd.lease_count == 1
        assert await keys.create("10.5.0.32-28", b"{}", ttl=TTL)
        assert etcd.leases() == {"10.5.0.32-28": "{}"}
        assert etcd.lease_count == 1


async def test_a_no_after_no_answer_is_no_reason_to_end_a_lease_that_may_be_in_use(
    etcd: EtcdServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One endpoint moves the key to a new lease and does not say so; the next one says no."""
    async with asked(access(etcd)) as api:
        keys, transact = keys_of(api), api.transact
        entry = await keys.create("10.5.0.16-28", b"{}", ttl=TTL)
        assert entry is not None

        async def moved(request: Any, *, doing: str) -> Any:  # noqa: ANN401
            await transact(request, doing=doing)
            refused = Refused(f"cannot {doing}: permission denied")
            refused.may_be_done = True
            raise refused

        monkeypatch.setattr(api, "transact", moved)
        with pytest.raises(Refused):
            await keys.keep_alive(entry, ttl=TTL + 1)
        assert etcd.leases() == {"10.5.0.16-28": "{}"}


async def test_a_no_says_whether_another_endpoint_may_have_done_it(guarded: EtcdServer) -> None:
    dead = f"http://127.0.0.1:{free_port()}"
    for urls in ((guarded.url,), (dead, guarded.url)):
        async with asked(make_access(urls, user=("fwd", "secret"))) as api:
            servers = [one.url for one in api._link._access.endpoints]  # in an order of chance
            api._link._place = servers.index(urls[0])
            with pytest.raises(Refused) as caught:
                await api.get("/elsewhere")
            assert caught.value.may_be_done == (urls[0] == dead)


async def test_a_fight_that_is_answered_is_still_one(
    guarded: EtcdServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Somebody keeps writing over it."""
    async with member(fwd(guarded), 1) as one:
        await until("published", lambda: one.snapshot and guarded.leases().get(one.key) == value(1))
        await asyncio.sleep(0.2)
        grant = f"{guarded.lease_id(one.key):x}"
        for _ in range(6):
            await until("it is back", lambda: guarded.leases().get(one.key) == value(1))
            guarded.ctl("put", "--lease", grant, SUBNETS + one.key, value(3))
        await until("it says so", lambda: "lease-fought-over" in caplog.text)
    assert caplog.text.count("event=lease-repaired") == 5
