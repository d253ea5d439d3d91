# SPDX-License-Identifier: Apache-2.0
"""Names looked up beside the loop: one lookup a name, whatever becomes of whoever asked."""

import asyncio
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from fwd.sources.names import Found, Names, Unresolved, _Caller
from tests.unit.names_support import (
    ANSWER,
    HERE,
    LONG,
    NAME,
    Lookups,
    looking,
    wait_for,
)

ROOT = Path(__file__).resolve().parents[2]
FOUND = [Found("fe80::1%7", socket.AF_INET6), Found("127.0.0.1", socket.AF_INET)]


async def ask(names: Names, name: str = NAME, seconds: float = LONG) -> list[Found]:
    return await names.look_up(name, seconds=seconds)


async def asking(names: Names, count: int) -> list["asyncio.Task[list[Found]]"]:
    """They have all begun to wait."""
    tasks = [asyncio.create_task(ask(names)) for _ in range(count)]
    await asyncio.sleep(0.01)
    return tasks


async def test_many_callers_have_one_thread(lookups: Lookups) -> None:
    tasks = await asking(Names(), 50)
    assert len(looking()) == 1
    assert looking()[0].daemon, "else the process would wait for it"
    lookups.answers()
    assert await asyncio.gather(*tasks) == [FOUND] * 50
    assert lookups.asked == [NAME]


async def test_the_next_one_asks_anew(lookups: Lookups) -> None:
    lookups.answers()
    names = Names()
    assert await ask(names) == FOUND
    lookups.answers(HERE)
    assert await ask(names) == FOUND[1:]


async def test_who_asks_later_waits_for_the_lookup_under_way(lookups: Lookups) -> None:
    names = Names()
    for _ in range(5):
        with pytest.raises(Unresolved, match=rf"^cannot resolve {NAME}: no answer in time$"):
            await ask(names, seconds=0.01)
    (last,) = await asking(names, 1)
    assert len(looking()) == len(lookups.asked) == 1
    lookups.answers()
    assert await last == FOUND


@pytest.mark.usefixtures("complaints")
@pytest.mark.parametrize("answer", [ANSWER, socket.gaierror(-2, "no such name")])
async def test_a_caller_that_is_gone_takes_nothing_with_it(
    lookups: Lookups, answer: object
) -> None:
    names = Names()
    first, second = await asking(names, 2)
    first.cancel()
    await asyncio.wait({first})
    assert first.cancelled()
    assert not second.done()
    second.cancel()
    lookups.answers(answer)
    await asyncio.wait({second})
    wait_for(lambda: not looking())
    await asyncio.sleep(0)
    assert second.cancelled()


@pytest.mark.usefixtures("complaints")
async def test_cancelled_when_the_answer_is_there_already(lookups: Lookups) -> None:
    (task,) = await asking(Names(), 1)
    lookups.answers(socket.gaierror(-2, "no such name"))
    wait_for(lambda: not looking())  # and the loop has had no turn since
    asyncio.get_running_loop().call_soon(task.cancel)
    await asyncio.wait({task})


@pytest.mark.usefixtures("complaints")
@pytest.mark.parametrize(
    ("error", "why"),
    [
        (socket.gaierror(-3, "Temporary failure\nin name resolution"), "Temporary failure in"),
        (UnicodeError("label empty or too long"), "label empty or too long"),
        (MemoryError(), "MemoryError"),
    ],
)
async def test_an_error_is_everybodys(lookups: Lookups, error: Exception, why: str) -> None:
    tasks = await asking(names := Names(), 3)
    lookups.answers(error)
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        assert isinstance(outcome, Unresolved)
        assert str(outcome).startswith(f"cannot resolve {NAME}: {why}")
        assert "\n" not in str(outcome)
    lookups.answers()
    assert await ask(names) == FOUND


async def test_threads_are_bounded(lookups: Lookups) -> None:
    names = Names(most=2)
    for number in (1, 2):
        with pytest.raises(Unresolved, match="no answer in time"):
            await ask(names, f"{number}.test", seconds=0.01)
    with pytest.raises(Unresolved, match=r"^cannot resolve 3\.test: 2 other names hang$"):
        await ask(names, "3.test")
    assert len(looking()) == 2
    lookups.answers()
    wait_for(lambda: not looking())
    assert await ask(names, "3.test") == FOUND


async def test_no_thread_to_be_had(lookups: Lookups, monkeypatch: pytest.MonkeyPatch) -> None:
    def cannot(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    names = Names()
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", cannot)
        with pytest.raises(Unresolved, match=f"^cannot resolve {NAME}: can't start new thread$"):
            await ask(names)
    lookups.answers()
    assert await ask(names) == FOUND


@pytest.mark.parametrize(
    ("text", "family"),
    [("10.0.0.1", socket.AF_INET), ("fd00::1", socket.AF_INET6), ("fe80::1%lo", socket.AF_INET6)],
)
async def test_an_address_needs_no_lookup(lookups: Lookups, text: str, family: int) -> None:
    assert await ask(Names(), text) == [Found(text, family)]
    assert not lookups.asked


def test_a_loop_that_is_closed_is_told_nothing() -> None:
    loop = asyncio.new_event_loop()
    caller = _Caller(loop, loop.create_future())
    loop.close()
    caller.tell([])
    assert not caller.answer.done()


def test_the_next_loop_has_the_lookup_under_way(lookups: Lookups) -> None:
    names = Names()
    with pytest.raises(Unresolved):
        asyncio.run(ask(names, seconds=0.01))

    async def waits() -> list[Found]:
        (task,) = await asking(names, 1)
        lookups.answers()
        return await task

    assert asyncio.run(waits()) == FOUND
    assert lookups.asked == [NAME]


HANGS = """
import asyncio, socket, time, uvloop
from fwd.sources.names import NAMES, Unresolved
socket.getaddrinfo = lambda *_, **__: time.sleep(60)
async def main():
    for name in ("a.test", "b.test"):
        try:
            await NAMES.look_up(name, seconds=0.05)
        except Unresolved as error:
            print(error)
with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    runner.run(main())
"""


def test_the_process_ends_while_a_lookup_hangs() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", HANGS],
        capture_output=True,
        text=True,
        timeout=LONG,
        check=False,
        cwd=ROOT,
    )
    lines = [f"cannot resolve {name}: no answer in time" for name in ("a.test", "b.test")]
    assert (done.stdout.splitlines(), done.stderr, done.returncode) == (lines, "", 0)
