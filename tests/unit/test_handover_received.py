# SPDX-License-Identifier: Apache-2.0
"""What an agent that takes over, or begins again after a crash, does with what is of no use to it.

No device is opened.  Excluded: which descriptors are of no use (tests/netns/test_kits.py).
"""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from fwd.core import handovertalk as talk
from fwd.model import Plan
from fwd.node.handover.finding import find_legacy
from fwd.node.handover.keeping import StoreKeeping, revive
from fwd.node.handover.legacy import NoLegacy
from fwd.node.handover.store import Entry, Store
from fwd.node.handover.taker import OtherNodeError, TakeOverError, Taker
from fwd.node.rundir import RunDir
from fwd.plane import pack_table
from fwd.supervisor.words import LOCK, TABLE
from tests.unit.in_family import EACH_FAMILY
from tests.unit.test_handover_sides import Plane, dying
from tests.unit.test_handovertalk import KIT

DEVICE = "flannel.1"
LOCAL = {4: "127.0.0.1", 6: "::1"}


class Answers:
    """Those of an agent with kits, and what it was asked."""

    def __init__(self, hello: talk.Message | None = None) -> None:
        self.asked: list[talk.Message] = []
        self._hello = hello or talk.Welcome(node="n1", release="1", version=1)

    def __call__(self, asked: talk.Message) -> talk.Message | None:
        self.asked.append(asked)
        match asked:
            case talk.Hello():
                return self._hello
            case talk.Show():
                return talk.Shown(kits=1)
            case talk.Release():
                return talk.Released(device=asked.device)
        return talk.Bye() if isinstance(asked, talk.Done) else None

    @property
    def kinds(self) -> list[type[talk.Message]]:
        return [type(one) for one in self.asked]


class Pipe:
    """Its writing end is no tunnel's descriptor, and is open for as long as anybody has a copy."""

    def __init__(self) -> None:
        self._reader, self.writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def is_nowhere_else(self) -> bool:
        """Once it is closed here."""
        os.close(self.writer)
        try:
            return os.read(self._reader, 1) == b""
        except BlockingIOError:
            return False
        finally:
            os.close(self._reader)


@pytest.fixture
def sockets(family: int) -> Iterator[tuple[talk.Kit, list[int]]]:
    """A receiving and a sending one, and a kit that is right of them."""
    kind = socket.AF_INET if family == 4 else socket.AF_INET6
    with (
        socket.socket(kind, socket.SOCK_DGRAM) as listen,
        socket.socket(kind, socket.SOCK_DGRAM) as source,
    ):
        for one in (listen, source):
            one.bind((LOCAL[family], 0))
        kit = replace(
            KIT,
            family=family,
            local=LOCAL[family],
            port=listen.getsockname()[1],
            workers=1,
            queues=1,
            receivers=1,
            sources=1,
        )
        yield kit, [listen.fileno(), source.fileno()]


Wrong = Callable[[talk.Kit], talk.Kit]
OF_NO_USE = pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda kit: kit, "a queue that is none"),
        (lambda kit: replace(kit, sources=2), "3 descriptors for 1 queues"),
        (lambda kit: replace(kit, sources=0), "0 sending sockets, 0 TAPs"),
        (lambda kit: replace(kit, taps=2), "1 sending sockets, 2 TAPs"),
        (lambda kit: replace(kit, receivers=2), "1 queues for 2 workers"),
        (lambda kit: replace(kit, queues=3, receivers=2), "3 queues for 2 workers"),
        (lambda kit: replace(kit, queues=65, receivers=65), "65 queues for 65 workers"),
        (lambda kit: replace(kit, queues=0), "0 queues for 1 workers"),
    ],
    ids=[
        "pipe",
        "too few",
        "no source",
        "two TAPs",
        "no queue each",
        "one left over",
        "too many",
        "none",
    ],
)


@EACH_FAMILY
@OF_NO_USE
def test_a_kit_of_no_use_is_closed_and_the_tunnel_made_anew(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    sockets: tuple[talk.Kit, list[int]],
    wrong: Wrong,
    says: str,
) -> None:
    right, others = sockets
    pipe, answers = Pipe(), Answers()
    with dying(tmp_path, answers, kits=[(wrong(right), [pipe.writer, *others])]):
        run_dir = RunDir.enter(tmp_path)
        ours, plane = Taker(run_dir, node="n1"), Plane()
        with closing(run_dir):
            assert ours.take(plane.settings) is None
            assert f'event=not-taken-over device={DEVICE} reason="{DEVICE}: {says}' in caplog.text
            assert ours.start(plane) == {}  # type: ignore[arg-type]
            ours.done()
            assert run_dir.is_ours
    assert plane.started == 1
    assert answers.asked[2:] == [talk.Release(device=DEVICE), talk.Done()]
    assert pipe.is_nowhere_else()


class Kept:
    """By a supervisor: a lock, a kit with a pipe for a queue, and a table."""

    def __init__(self, kit: bytes, sockets: list[int]) -> None:
        self.pipe = Pipe()
        self.dropped: list[str] = []
        store: Any = Store()
        store.drop = self.dropped.append
        self.keeping = StoreKeeping(store)
        table = os.memfd_create("table")
        os.write(table, pack_table(Plan()))
        self.entries = {
            LOCK: Entry(b"path", []),
            DEVICE + TABLE: Entry(b"", [table]),
            DEVICE: Entry(kit, [os.dup(one) for one in (self.pipe.writer, *sockets)]),
        }

    def is_of_no_use(self) -> bool:
        """The start goes on, from nothing, and nobody has a copy."""
        assert revive(self.entries, self.keeping).devices == ()
        assert self.dropped == [DEVICE, DEVICE + TABLE]
        return self.pipe.is_nowhere_else()


@EACH_FAMILY
@OF_NO_USE
def test_a_kept_kit_of_no_use_is_kept_by_nobody(
    sockets: tuple[talk.Kit, list[int]], caplog: pytest.LogCaptureFixture, wrong: Wrong, says: str
) -> None:
    right, others = sockets
    assert Kept(talk.encode(wrong(right)), others).is_of_no_use()
    assert f'event=not-revived device={DEVICE} error="{DEVICE}: {says}' in caplog.text


@pytest.mark.parametrize("kit", [b"", b"nonsense", b"{}", talk.encode(talk.Show())])
def test_what_was_kept_and_is_no_kit_is_kept_by_nobody(
    caplog: pytest.LogCaptureFixture, kit: bytes
) -> None:
    assert Kept(kit, []).is_of_no_use()
    assert f"event=not-revived device={DEVICE}" in caplog.text


async def test_an_agent_of_other_versions_ends_and_nothing_is_taken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    answers = Answers(talk.Refused(reason="it speaks versions 7 to 9", cold=True))
    with dying(tmp_path, answers), closing(RunDir.enter(tmp_path)) as run_dir:
        assert isinstance(await find_legacy(run_dir, node="n1"), NoLegacy)
        assert run_dir.is_ours
    assert answers.kinds == [talk.Hello, talk.Done]
    assert 'event=cold-start reason="it speaks versions 7 to 9"' in caplog.text


def test_an_agent_that_refuses_goes_on(tmp_path: Path) -> None:
    answers = Answers(talk.Refused(reason="it is of node n2"))
    with dying(tmp_path, answers), closing(RunDir.enter(tmp_path)) as run_dir:
        with pytest.raises(OtherNodeError, match="it is of node n2"):
            Taker(run_dir, node="n1").probe()
        assert not run_dir.is_ours
    assert answers.kinds == [talk.Hello]


def test_an_agent_that_has_become_another_one_gives_nothing(tmp_path: Path) -> None:
    """Since it was asked whether it would."""
    answers = Answers(talk.Refused(reason="it speaks versions 7 to 9", cold=True))
    with dying(tmp_path, answers), closing(RunDir.enter(tmp_path)) as run_dir:
        ours = Taker(run_dir, node="n1")
        with pytest.raises(TakeOverError, match="the other agent has changed"):
            ours.take(Plane().settings)
        ours.abort()
    assert answers.kinds == [talk.Hello, talk.Done]


@pytest.fixture
def directories(tmp_path: Path) -> Iterator[tuple[RunDir, RunDir]]:
    """Of two agents."""
    with closing(RunDir.open(tmp_path / "a")) as one, closing(RunDir.open(tmp_path / "b")) as other:
        yield one, other


def test_the_lock_of_another_directory_is_not_taken(directories: tuple[RunDir, RunDir]) -> None:
    before, other = directories
    with closing(RunDir.enter(before.path)) as ours:
        given = os.dup(other.lock)
        with pytest.raises(ValueError, match=f"another run directory than {before.path}$"):
            ours.adopt(given)
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(given)
        assert not ours.is_ours
        assert not ours.try_lock(), "its own one is open and not locked"


def test_a_lock_that_is_taken_is_never_free_in_between(directories: tuple[RunDir, RunDir]) -> None:
    before, _ = directories
    with closing(RunDir.enter(before.path)) as ours:
        mine = ours.lock
        ours.adopt(os.dup(before.lock))
        assert ours.is_ours
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(mine)
        os.close(before.lock)
        before.lock = os.open("/dev/null", os.O_RDONLY)
        with closing(RunDir.enter(ours.path)) as third:
            assert not third.is_ours


def test_who_gives_the_lock_of_another_directory_goes_on(tmp_path: Path) -> None:
    pipe, answers = Pipe(), Answers()
    with dying(tmp_path, answers, lock=pipe.writer), closing(RunDir.enter(tmp_path)) as run_dir:
        ours = Taker(run_dir, node="n1")
        try:
            with pytest.raises(TakeOverError, match="the lock of another run directory"):
                ours.take(Plane().settings)
        finally:
            ours.abort()
        assert not run_dir.is_ours
    assert answers.kinds == [talk.Hello, talk.Show]
    assert pipe.is_nowhere_else()
