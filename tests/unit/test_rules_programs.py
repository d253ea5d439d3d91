# SPDX-License-Identifier: Apache-2.0
"""Running programs within limits, and keeping on when others interfere."""

import asyncio
import os
import sys
import tracemalloc
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import uvloop

from fwd.core.rules import Finding, Kind, Repair, Transaction, Wanted
from fwd.model import IPV4
from fwd.node.rules import keeper
from fwd.node.rules.keeper import RuleKeeper
from fwd.node.rules.programs import Done, LockHeldError, RuleError, read_lines, run
from tests.unit.rules_model import BOTH, NETWORKS, SUBNETS

NewLoop = Callable[[], asyncio.AbstractEventLoop]

SH = "/bin/sh"
IPV4_ONLY = Wanted({IPV4: NETWORKS[IPV4]}, {IPV4: SUBNETS[IPV4]})

LOOPS = pytest.mark.parametrize("loop", [uvloop.new_event_loop, asyncio.new_event_loop])


async def read(argv: Sequence[str], *, limit: float = 20) -> Done:
    """As run(), by lines that nobody wants."""
    return await read_lines(argv, lambda _: None, limit=limit)


WAYS = pytest.mark.parametrize("way", [run, read], ids=lambda way: way.__name__)
Way = Callable[..., Coroutine[Any, Any, Done]]


@LOOPS
@WAYS
@pytest.mark.parametrize(
    "script",
    ["exec sleep 60", "exec yes", "sleep 60 & exec yes", "exec yes >&2", "exec >&-; yes >&2"],
)
def test_a_program_has_an_end(loop: NewLoop, way: Way, script: str) -> None:
    """Also one that writes all the time, and one whose child keeps its output open."""
    before = children()
    with (
        asyncio.Runner(loop_factory=loop) as runner,
        pytest.raises(RuleError, match=r"not done after 0\.2 s$"),
    ):
        runner.run(way([SH, "-c", script], limit=0.2))
    assert children() <= before


def number_in(path: Path) -> int | None:
    return int(path.read_text()) if path.exists() else None


@LOOPS
@WAYS
def test_a_program_ends_with_its_caller(loop: NewLoop, way: Way, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"

    async def cancelled() -> int:
        script = f"echo $$ >{pid_file}.new && mv {pid_file}.new {pid_file}; exec yes"
        task = asyncio.create_task(way([SH, "-c", script]))
        async with asyncio.timeout(10):
            while (pid := number_in(pid_file)) is None:  # noqa: ASYNC110 - a process makes it
                await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait([task], timeout=5)
        assert task.cancelled()
        return pid

    with asyncio.Runner(loop_factory=loop) as runner:
        pid = runner.run(cancelled())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def children() -> set[str]:
    """Of this process, also those that have ended and were not reaped."""
    found: set[str] = set()
    for one in Path("/proc/self/task").glob("*/children"):
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread that ends meanwhile
            found.update(one.read_text().split())
    return found


@LOOPS
@pytest.mark.parametrize("turns", range(12))
def test_a_program_that_is_being_started_ends_with_its_caller(loop: NewLoop, turns: int) -> None:
    """Cancelled before it is known who was started: nobody is left, not to be reaped either."""

    async def cancelled() -> None:
        task = asyncio.create_task(run([SH, "-c", "exec sleep 30"]))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task], timeout=5)
        assert task.cancelled()
        assert children() <= before

    before = children()
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(cancelled())


async def test_input_and_output_are_text() -> None:
    done = await run([SH, "-c", "cat; echo bad >&2; exit 3"], stdin="größe\n")
    assert (done.code, done.out, done.err) == (3, "größe\n", "bad\n")
    with pytest.raises(RuleError, match=r"exit 3: bad$"):
        done.checked()


@pytest.mark.parametrize("printed", ["", "one", "one\n", "one\ntwo", "größe\n\n\x0c two\n"])
async def test_lines_come_without_their_end(printed: str) -> None:
    lines: list[str] = []
    done = await read_lines(["/usr/bin/printf", "%s", printed], lines.append)
    assert (done.code, done.out) == (0, "")
    assert "\n".join(lines) == printed.removesuffix("\n")


async def test_lines_of_a_program_that_fails_and_why() -> None:
    lines: list[str] = []
    script = "echo first; echo 'iptables: you must be root' >&2; exit 4"
    done = await read_lines([SH, "-c", script], lines.append)
    assert (lines, done.code) == (["first"], 4)
    with pytest.raises(RuleError, match=r"exit 4: iptables: you must be root$"):
        done.checked()


@LOOPS
@WAYS
def test_who_complains_at_length_is_heard_out(loop: NewLoop, way: Way) -> None:
    """And of it the beginning is kept."""
    script = "echo bad >&2; yes more | head -c 1000000 >&2; yes | head -c 1000000; exit 3"
    with asyncio.Runner(loop_factory=loop) as runner:
        done = runner.run(way([SH, "-c", script]))
    assert (done.code, done.err[:9], len(done.err)) == (3, "bad\nmore\n", 65536)


async def test_what_is_read_by_lines_is_not_held() -> None:
    """One line in a thousand is longer than what is read at once."""
    script = (
        "import sys; line = 'x' * 170 + '\\n'\n"
        "for i in range(30): sys.stdout.write(line * 1000 + 'y' * 100000 + '\\n')"
    )
    seen = [0, 0]

    def take(line: str) -> None:
        assert line in ("x" * 170, "y" * 100_000)
        seen[line[0] == "y"] += 1

    tracemalloc.start()
    try:
        await read_lines([sys.executable, "-c", script], take)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()
    assert seen == [30_000, 30]


async def test_a_program_that_reads_nothing_is_no_error() -> None:
    assert (await run(["/bin/true"], stdin="x" * 1_000_000)).code == 0


async def test_a_program_that_cannot_run() -> None:
    with pytest.raises(RuleError, match="cannot run /none: No such file"):
        await run(["/none"])


class Others:
    """An engine whose rules someone else takes away a number of times."""

    name = "others"

    def __init__(self, *, times: int, refuse: Exception | None = None) -> None:
        self.times = times
        self.refuse = refuse
        self.applied = 0

    async def plan(self, wanted: Wanted, *, thorough: bool) -> Repair:  # noqa: ARG002
        finding = Finding("w", Kind.MISSING, "r")
        return Repair((finding,), (Transaction("t"),)) if self.times else Repair()

    async def plan_removal(self) -> Repair:
        return await self.plan(BOTH, thorough=True)

    async def apply(self, repair: Repair) -> None:
        assert repair.transactions
        self.times -= 1
        self.applied += 1
        if self.refuse is not None:
            raise self.refuse


Doing = Callable[[RuleKeeper], Coroutine[Any, Any, list[Finding]]]
ALL_WAYS = pytest.mark.parametrize(
    "do", [RuleKeeper.install, RuleKeeper.check, RuleKeeper.remove], ids=lambda do: do.__name__
)


@ALL_WAYS
async def test_what_was_refused_once_is_tried_anew(do: Doing) -> None:
    engine = Others(times=2, refuse=RuleError("changed meanwhile"))
    assert await do(RuleKeeper(engine, BOTH)) == []
    assert engine.applied == 2


@ALL_WAYS
async def test_what_is_refused_for_good_is_said(do: Doing) -> None:
    engine = Others(times=99, refuse=RuleError("no"))
    with pytest.raises(RuleError, match=r"^no$"):
        await do(RuleKeeper(engine, BOTH))
    assert engine.applied == keeper.ATTEMPTS


@ALL_WAYS
async def test_a_held_lock_is_waited_for_once(do: Doing) -> None:
    engine = Others(times=99, refuse=LockHeldError("held"))
    with pytest.raises(LockHeldError):
        await do(RuleKeeper(engine, BOTH))
    assert engine.applied == 1


@ALL_WAYS
async def test_rules_that_do_not_stay_are_no_success(do: Doing) -> None:
    engine = Others(times=99)
    with pytest.raises(RuleError, match="do not stay as they are written: missing in w: r"):
        await do(RuleKeeper(engine, BOTH))
    assert engine.applied == keeper.ATTEMPTS


async def test_a_dry_run_changes_nothing() -> None:
    engine = Others(times=1)
    assert len(await RuleKeeper(engine, BOTH).remove(dry_run=True)) == 1
    assert engine.applied == 0
