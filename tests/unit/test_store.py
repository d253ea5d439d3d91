# SPDX-License-Identifier: Apache-2.0
"""What a supervisor keeps of an agent that crashes, and of one that goes on without it."""

import os
import socket
from collections.abc import Iterator

import pytest

from fwd.node.handover import store as store_module
from fwd.node.handover.keeping import StoreKeeping
from fwd.node.handover.store import Store
from fwd.supervisor.child import Child
from fwd.supervisor.supervisor import Supervisor
from fwd.supervisor.words import FORGET, LOCK, MOST_DESCRIPTORS, TABLE
from tests.unit.supervisor_support import own_signals

DEVICE = "flannel.1"
ALL = {DEVICE, DEVICE + TABLE, LOCK}


class Both:
    """A supervisor that runs only in hear(), the agent's end of the talk, and what is kept."""

    def __init__(self) -> None:
        ours, self.talk = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        self.supervisor = Supervisor([], keeps_spare=False)
        self.supervisor._agent = self.agent = Child(os.getpid(), ours)
        self.copied, self._peer = socket.socketpair()
        self._peer.setblocking(False)
        for name in (DEVICE, DEVICE + TABLE, LOCK):
            self.put(name)
            self.hear()
            assert self.talk.recv(16) == b"ok"

    def put(self, name: str, *, descriptors: int = 1) -> None:
        words = [f"put {name}\npath".encode()]
        socket.send_fds(self.talk, words, [self.copied.fileno()] * descriptors)

    def hear(self) -> None:
        """All that there is."""
        while self.supervisor._hear():
            pass

    @property
    def kept(self) -> set[str]:
        return set(self.supervisor._kept._entries)

    def is_nowhere_else(self) -> bool:
        """Whether what was given is closed once we close it here."""
        self.copied.close()
        try:
            return self._peer.recv(1) == b""
        except BlockingIOError:
            return False

    def close(self) -> None:
        self.supervisor._kept.drop_all()
        self.agent.hang_up()
        for one in (self.talk, self.copied, self._peer):
            one.close()


@pytest.fixture
def both(monkeypatch: pytest.MonkeyPatch) -> Iterator[Both]:
    monkeypatch.setattr(store_module, "ANSWER_SECONDS", 0.05)
    with own_signals():
        made = Both()
        yield made
        made.close()


def see_only_the_lock(both: Both) -> None:
    """Nothing keeps the agent from its device, and where to look while it stands by is known."""
    assert both.agent.talk is None
    assert both.kept == {LOCK}
    assert both.supervisor._kept.lock == b"path"
    both.supervisor._kept.drop(LOCK)
    assert both.is_nowhere_else()


def test_who_is_given_up_keeps_nothing(both: Both) -> None:
    """It does not run for so long that the agent goes on without it."""
    store = Store(both.talk)
    store.put(DEVICE, b"newer", [both.copied.fileno()])
    assert (store.is_there, store.was_there) == (False, True)
    assert both.kept == ALL
    both.hear()
    see_only_the_lock(both)


def test_who_answers_too_late_keeps_nothing(both: Both) -> None:
    both.put(DEVICE)
    both.supervisor._hear()
    both.talk.send(FORGET)
    both.talk.close()  # with an answer that nobody has read
    both.hear()
    see_only_the_lock(both)


def test_who_hangs_up_keeps_nothing(both: Both) -> None:
    """The agent said nonsense, and lives."""
    both.put(DEVICE, descriptors=MOST_DESCRIPTORS + 1)
    both.hear()
    see_only_the_lock(both)


@pytest.mark.parametrize("unread", [True, False])
def test_of_who_has_crashed_all_is_kept(both: Both, *, unread: bool) -> None:
    """Its talk ends without a word; perhaps it had not read its last answer."""
    if unread:
        both.put(DEVICE)
        both.supervisor._hear()
    both.talk.close()
    both.hear()
    assert both.agent.talk is None
    assert both.kept == ALL


def test_what_an_agent_has_said_last_is_heard_after_its_end(both: Both) -> None:
    """It gave up and crashed, all before the supervisor ran again."""
    pid = os.posix_spawn("/bin/false", ["false"], {})
    both.agent.pid = pid
    both.talk.send(b"drop other")
    both.talk.send(FORGET)
    both.talk.close()
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    ended = both.supervisor._reap()
    assert ended is not None
    assert ended[0] == 1
    see_only_the_lock(both)


def test_what_is_held_is_not_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    store, dropped = Store(), list[str]()
    monkeypatch.setattr(store, "drop", dropped.append)
    keeping = StoreKeeping(store)
    keeping.drop("first")
    keeping.hold()
    keeping.drop("second")
    assert dropped == ["first", "first" + TABLE]
