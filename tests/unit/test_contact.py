# SPDX-License-Identifier: Apache-2.0
"""What is said of a server: one line when it is lost, one when it is back, whoever fails by it."""

import asyncio
import time
from collections.abc import Callable

import pytest

from fwd.model import ConfigError, FwdError
from fwd.sources import contact as module
from fwd.sources.contact import Contact, Ending, NoAnswer, ServerError, Side


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 - of many kinds
            await asyncio.sleep(0.001)


class Server:
    """Fails by `trouble`, else answers.  Counts what it was asked."""

    def __init__(self, contact: Contact) -> None:
        self.contact = contact
        self.trouble: FwdError | None = None
        self.asked = 0

    async def watch(self) -> Ending:
        self.asked += 1
        if self.trouble is not None:
            raise self.trouble
        self.contact.well()
        await until(lambda: self.trouble is not None)
        raise self.trouble  # type: ignore[misc]

    async def publish(self) -> None:
        self.asked += 1
        if self.trouble is not None:
            raise self.trouble


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Server:
    monkeypatch.setattr(module, "RETRY_FIRST_SECONDS", 0.005)
    monkeypatch.setattr(module, "RETRY_LONGEST_SECONDS", 0.01)
    caplog.set_level("INFO", "fwd")
    return Server(Contact("etcd", server=lambda: "http://a:1"))


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    def said() -> list[str]:
        found = [record.getMessage() for record in caplog.records]
        caplog.clear()
        return [line.removeprefix("event=").replace("server=http://a:1 ", "") for line in found]

    return said


async def some_tries(server: Server) -> None:
    before = server.asked
    await until(lambda: server.asked >= before + 5)


async def test_an_outage_is_one_line_and_its_end_is_one(
    server: Server, lines: Callable[[], list[str]]
) -> None:
    contact = server.contact
    watching = asyncio.create_task(contact.retrying(server.watch))
    await until(lambda: contact.away is None)
    assert lines() == ["etcd-connected after-seconds=0.0"]
    publishing = None
    for number in (1, 2):
        server.trouble = NoAnswer("cannot watch: broken off")
        publishing = asyncio.create_task(contact.retrying(server.publish, side=Side.PUBLISH))
        await until(lambda: contact.away is not None)
        server.trouble = NoAnswer(f"cannot list: refused {number}")
        await some_tries(server)
        server.trouble = NoAnswer(f"cannot list: no way {number}")
        await some_tries(server)
        server.trouble = None
        await publishing
        await until(lambda: contact.away is None)
        lost, back = lines()
        assert lost == f'etcd error="cannot list: refused {number}"'
        assert back.startswith("etcd-connected after-seconds=0.")
        assert "error" not in back
        assert contact.unpublished == ""
    watching.cancel()


async def test_a_break_that_the_first_retry_heals_is_one_line(
    server: Server, lines: Callable[[], list[str]]
) -> None:
    watching = asyncio.create_task(server.contact.retrying(server.watch))
    await until(lambda: server.contact.away is None)
    lines()
    server.trouble = NoAnswer("cannot watch: broken off")
    await until(lambda: server.contact.away is not None)
    server.trouble = None
    await until(lambda: server.contact.away is None)
    assert lines() == ['etcd-connected after-seconds=0.0 error="cannot watch: broken off"']
    watching.cancel()


async def test_at_a_start_the_first_failure_is_told(
    server: Server, lines: Callable[[], list[str]]
) -> None:
    server.trouble = NoAnswer("cannot read: refused")
    watching = asyncio.create_task(server.contact.retrying(server.watch))
    await some_tries(server)
    assert lines() == ['etcd error="cannot read: refused"']
    watching.cancel()


async def test_what_only_publishing_fails_by_is_told_at_the_second_time(
    server: Server, lines: Callable[[], list[str]]
) -> None:
    server.contact.well()
    lines()
    server.trouble = NoAnswer("cannot take the subnet: no answer in time")
    publishing = asyncio.create_task(server.contact.retrying(server.publish, side=Side.PUBLISH))
    await some_tries(server)
    assert lines() == ['etcd error="cannot take the subnet: no answer in time"']
    server.trouble = None
    await publishing
    assert server.contact.unpublished == ""


async def test_one_refusal_is_one_line_whatever_is_refused(
    server: Server, lines: Callable[[], list[str]]
) -> None:
    class BadUserError(ServerError, ConfigError):
        cause = "user"

    faults: list[ConfigError] = []

    def on_fault(error: ConfigError) -> bool:
        faults.append(error)
        return False

    server.contact.on_fault = on_fault
    server.contact.well()
    lines()
    server.trouble = BadUserError("cannot read: wrong password")
    tasks = [
        asyncio.create_task(server.contact.retrying(server.watch)),
        asyncio.create_task(server.contact.retrying(server.publish, side=Side.PUBLISH)),
    ]
    await some_tries(server)
    server.trouble = BadUserError("cannot list: wrong password")
    await some_tries(server)
    assert lines() == ['etcd error="cannot read: wrong password"']
    server.trouble = ServerError("cannot list: permission denied")
    await some_tries(server)
    assert lines() == ['etcd error="cannot list: permission denied"']
    assert faults
    for task in tasks:
        task.cancel()


async def test_what_waits_to_be_published_is_as_soon_as_the_server_is_back(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    contact = server.contact
    server.trouble = NoAnswer("cannot list: refused")
    watching = asyncio.create_task(contact.retrying(server.watch))
    await until(lambda: contact.away == "cannot list: refused")
    monkeypatch.setattr(module, "RETRY_FIRST_SECONDS", 60.0)
    publishing = asyncio.create_task(contact.retrying(server.publish, side=Side.PUBLISH))
    await until(lambda: contact.unpublished != "")
    begun, server.trouble = time.monotonic(), None
    await publishing
    assert time.monotonic() - begun < 30
    watching.cancel()


def test_what_a_server_says_is_text() -> None:
    assert str(ServerError("no\udcff\udcfe")) == "no??"
