# SPDX-License-Identifier: Apache-2.0
"""How an agent ends, as its supervisor and its user see it."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fwd import start
from fwd.agent import GivenAwayError
from fwd.begin import Begun
from fwd.model import ConfigError
from fwd.node.handover.keeping import Revived, StoreKeeping
from fwd.node.handover.store import Store
from fwd.node.rundir import RunDir
from fwd.supervisor.words import EXIT_GIVEN

Case = tuple[bool, Exception, str | None]
"""Whether all was given away, what ended the agent, what it says; None: it is an error."""
UNWINDING = OSError(5, "Input/output error")


@pytest.mark.parametrize("supervised", ["yes", "it was lost", "no"])
@pytest.mark.parametrize(
    "end",
    [
        (True, ExceptionGroup("", [GivenAwayError()]), ""),
        (True, ExceptionGroup("", [GivenAwayError(), UNWINDING]), "Input/output error"),
        (True, UNWINDING, "Input/output error"),
        (False, UNWINDING, None),
        (False, ExceptionGroup("", [UNWINDING]), None),
    ],
)
def test_who_has_given_all_away_says_so_whatever_else_happens(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    supervised: str,
    end: Case,
) -> None:
    given, error, said = end

    async def run(_config: object, begun: Begun) -> None:
        begun.run_dir.is_given = given
        raise error

    monkeypatch.setattr(start, "run", run)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        store = Store(None if supervised == "no" else ours)
        if supervised == "it was lost":
            theirs.close()
            store.drop("x")
            assert not store.is_there
            caplog.clear()
        keeping = StoreKeeping(store)
        run_dir = RunDir.open(tmp_path)
        begun = Begun(run_dir=run_dir, store=store, keeping=keeping, revived=Revived({}, keeping))
        config: Any = None
        if said is None:
            with pytest.raises(type(error)):
                start.main(config, begun)
        else:
            assert start.main(config, begun) == (0 if supervised == "no" else EXIT_GIVEN)
            assert said in caplog.text
            assert bool(caplog.records) is bool(said)
        run_dir.close()


class Port:
    """A Health whose port is another's until it is free."""

    def __init__(self) -> None:
        self.forwarding = asyncio.Event()
        self.is_free = False
        self.tried = 0

    @asynccontextmanager
    async def served(self, *_: object) -> AsyncIterator[None]:
        self.tried += 1
        if not self.is_free:
            raise ConfigError("it is in use")
        yield


async def test_a_port_is_taken_once_it_is_free_and_said_once_if_it_never_is(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Seldom tried before this agent forwards, then often for a while, then seldom again."""
    monkeypatch.setattr(start, "PORT_SECONDS", 0.5)
    monkeypatch.setattr(start, "_AGAIN_SECONDS", 0.02)
    config: Any = SimpleNamespace(healthz_ip="", healthz_port=1)
    port: Any = Port()
    async with AsyncExitStack() as stack, asyncio.timeout(20):
        task = asyncio.create_task(start._serve_when_free(config, port, stack))
        await asyncio.sleep(0.7)
        assert port.tried <= 2
        port.forwarding.set()
        while not caplog.messages:  # noqa: ASYNC110 - bounded
            await asyncio.sleep(0.01)
        often = port.tried
        assert often > 5
        while port.tried < often + 2:  # noqa: ASYNC110 - bounded
            await asyncio.sleep(0.01)
        assert caplog.messages == ['event=health error="it is in use"']
        port.is_free = True
        await task
