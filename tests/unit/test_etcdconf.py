# SPDX-License-Identifier: Apache-2.0
"""The network's configuration: from etcd, else as it was remembered, else waited for."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from fwd.sources import etcdconf
from fwd.sources.contact import Contact
from fwd.sources.etcdaccess import make_access
from fwd.sources.etcdapi import EtcdApi
from tests.etcd_server import PREFIX, EtcdServer
from tests.ports import free_port
from tests.unit.etcd_member import PATIENCE, SMALL, close, until

TEXT = msgspec.json.encode(SMALL)


@asynccontextmanager
async def asked(
    url: str, user: tuple[str, str] = ("", "")
) -> AsyncIterator[tuple[EtcdApi, Contact]]:
    api = EtcdApi(make_access((url,), user=user), patience=PATIENCE)
    try:
        async with asyncio.timeout(30):
            yield api, Contact("etcd", server=lambda: api.server)
    finally:
        await close(api)


def events(caplog: pytest.LogCaptureFixture) -> list[str]:
    messages = [record.getMessage() for record in caplog.records]
    return [message.removeprefix("event=").partition(" ")[0] for message in messages]


async def test_what_is_remembered_is_good_enough_at_once_if_etcd_is_out_of_reach(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(etcdconf, "SAVED_AFTER_SECONDS", 3600.0)
    saved = tmp_path / "net-conf.saved"
    saved.write_bytes(TEXT)
    async with asked(f"http://127.0.0.1:{free_port()}") as (api, contact):
        conf, text = await etcdconf.read_netconf(api, contact, PREFIX, saved=saved)
    assert (str(conf.network), text) == ("10.5.0.0/24", TEXT)
    assert contact.away is not None
    assert events(caplog) == ["etcd", "net-conf-saved"]


async def test_what_is_remembered_and_damaged_is_no_reason_not_to_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    etcd = EtcdServer(tmp_path / "etcd")
    saved = tmp_path / "net-conf.saved"
    saved.write_bytes(TEXT[:-1])
    try:
        async with asked(etcd.url) as (api, contact):
            reading = asyncio.create_task(etcdconf.read_netconf(api, contact, PREFIX, saved=saved))
            await until("it says so", lambda: "net-conf-saved-unused" in events(caplog))
            etcd.start()
            etcd.configure(SMALL)
            conf, _ = await reading
    finally:
        etcd.stop()
    assert str(conf.network) == "10.5.0.0/24"
    assert saved.read_bytes() == TEXT


def test_a_place_where_nothing_can_be_remembered_is_said_and_no_more(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "net-conf.saved").mkdir()
    etcdconf._save(tmp_path / "net-conf.saved", TEXT)
    assert events(caplog) == ["net-conf"]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "net-conf.saved"
    path.write_bytes(TEXT)
    return path


async def started(etcd: EtcdServer, saved: Path, user: tuple[str, str] = ("", "")) -> None:
    """By what is remembered."""
    async with asked(etcd.url, user) as (api, contact):
        conf, text = await etcdconf.read_netconf(api, contact, PREFIX, saved=saved)
    assert (str(conf.network), text) == ("10.5.0.0/24", TEXT)


def reason(caplog: pytest.LogCaptureFixture) -> str:
    """Why it was."""
    (line,) = (line for line in caplog.messages if line.startswith("event=net-conf-saved "))
    text, what = line.removeprefix("event=net-conf-saved text=").strip('"').split("; ")
    assert what == "going by what it said last"
    return text


async def reason_within_the_time(
    etcd: EtcdServer,
    saved: Path,
    caplog: pytest.LogCaptureFixture,
    user: tuple[str, str] = ("", ""),
) -> str:
    """The same where etcd is given time to answer: a little, and on a busy machine more."""
    for seconds in (0.5, 4.0):
        caplog.clear()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(etcdconf, "SAVED_AFTER_SECONDS", seconds)
            await started(etcd, saved, user)
        if reason(caplog) != "etcd does not answer":
            break
    return reason(caplog)


async def test_what_cannot_be_used_in_etcd_is_said_and_what_is_remembered_taken(
    etcd: EtcdServer, saved: Path, caplog: pytest.LogCaptureFixture
) -> None:
    etcd.configure(TEXT.decode().replace("}}", "},}"))
    await started(etcd, saved)
    assert [one for one in events(caplog) if one.startswith("net-conf")] == [
        "net-conf-unusable",
        "net-conf-saved",
    ]
    assert f'event=net-conf-unusable error="{PREFIX}/config: ' in caplog.text
    assert reason(caplog) == "what etcd holds cannot be used"


async def test_a_configuration_that_is_gone_is_not_called_silence(
    etcd: EtcdServer, saved: Path, caplog: pytest.LogCaptureFixture
) -> None:
    why = await reason_within_the_time(etcd, saved, caplog)
    assert why == f"there is no {PREFIX}/config in etcd"


async def test_a_configuration_that_may_not_be_read_is_not_called_silence(
    guarded: EtcdServer, saved: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert await reason_within_the_time(guarded, saved, caplog) == "etcd cannot be asked"
    guarded.ctl("user", "revoke-role", "fwd", "flannel")
    why = await reason_within_the_time(guarded, saved, caplog, ("fwd", "secret"))
    assert why == "etcd does not tell the network's configuration"
