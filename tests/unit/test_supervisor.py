# SPDX-License-Identifier: Apache-2.0
"""The supervisor's parts, and the process that waits to be the next agent."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fwd import cli
from fwd.node.handover.spare import files_of
from fwd.supervisor import supervisor
from fwd.supervisor.child import Child
from fwd.supervisor.kept import Kept, receive
from fwd.supervisor.pauses import CALM_SECONDS, LONGEST_PAUSE, PATIENCE, Pauses
from fwd.supervisor.supervisor import Supervisor
from fwd.supervisor.words import GO, LOCK, MOST_DESCRIPTORS, MOST_ENTRIES, SPARE, STORE, TABLE
from tests.unit.supervisor_support import LIMIT, own_signals


def descriptors() -> set[str]:
    return {one.name for one in Path("/proc/self/fd").iterdir()}


@contextmanager
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        ours.settimeout(LIMIT)
        theirs.settimeout(LIMIT)
        yield ours, theirs


def test_of_a_message_cut_short_no_descriptor_stays() -> None:
    with pair() as (ours, theirs):
        before = descriptors()
        socket.send_fds(theirs, [b"put x\n"], [theirs.fileno()] * (MOST_DESCRIPTORS + 3))
        with pytest.raises(ValueError, match="cannot be"):
            receive(ours)
        assert descriptors() == before


def test_what_is_kept_is_closed_once_it_is_not() -> None:
    before = descriptors()
    kept = Kept()
    for name in ("a", "a" + TABLE, LOCK):
        kept.put(name, b"first", [os.open("/dev/null", os.O_RDONLY)])
        kept.put(name, name.encode(), [os.open("/dev/null", os.O_RDONLY)])
    assert len(descriptors()) == len(before) + 3
    assert kept.devices == ("a",), "neither tables nor the lock are"
    assert kept.lock == LOCK.encode()
    with pair() as (ours, theirs):
        kept.send(theirs)
        said: list[bytes] = []
        while not said or said[-1] != b"end":
            data, fds = receive(ours)
            said.append(data)
            assert len(fds) == (data != b"end")
            for fd in fds:
                os.close(fd)
        assert said == [b"entry a\na", b"entry a/table\na/table", b"entry lock\nlock", b"end"]
    for number in range(MOST_ENTRIES):
        kept.put(f"more{number}", b"", [os.open("/dev/null", os.O_RDONLY)])
    assert len(descriptors()) == len(before) + MOST_ENTRIES
    kept.drop("never there")
    kept.drop_all()
    assert descriptors() == before


def after(pauses: Pauses, lived: float, *, killed: bool = True) -> tuple[float, int]:
    return pauses.after(lived, killed=killed), pauses.colds


@pytest.mark.parametrize(("lived", "killed"), [(0.5, True), (0.5, False), (2.5, False)])
def test_pauses_grow_in_a_loop(lived: float, *, killed: bool) -> None:
    pauses = Pauses()
    many = [after(pauses, CALM_SECONDS)] + [after(pauses, lived, killed=killed) for _ in range(3)]
    assert many == [(0, 0), (0.25, 0), (0.5, 1), (1, 2)]
    more = [after(pauses, lived, killed=killed) for _ in range(40)]
    assert more[-1] == (LONGEST_PAUSE, 42), "nothing is kept in any of the long pauses"
    assert pauses.crashes == 44
    assert after(pauses, CALM_SECONDS) == (0, 0)


def test_who_is_killed_again_and_again_comes_at_once() -> None:
    pauses = Pauses()
    many = [after(pauses, 2) for _ in range(PATIENCE + 3)]
    assert [pause for pause, _ in many] == [0.0] * PATIENCE + [0.25, 0.5, 1]
    assert [colds for _, colds in many] == [0] * (PATIENCE + 1) + [1, 2]
    assert after(pauses, CALM_SECONDS) == (0, 0)


@pytest.fixture
def signals() -> Iterator[None]:
    with own_signals():
        yield


@pytest.mark.usefixtures("signals")
def test_without_a_process_to_be_had_it_tries_again(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    tries = iter([BlockingIOError(11, "Resource temporarily unavailable"), OSError(12, "no room")])

    def fork() -> int:
        for error in tries:
            raise error
        return 12345

    monkeypatch.setattr(os, "fork", fork)
    monkeypatch.setattr(supervisor, "FIRST_PAUSE", 0.001)
    made = Supervisor(["--flag"], keeps_spare=False)
    assert made._start()
    assert made._agent is not None
    assert made._agent.pid == 12345
    assert capfd.readouterr().err.count("event=agent-not-started") == 2
    made._agent.hang_up()


@pytest.mark.usefixtures("signals")
def test_a_spare_comes_soon_after_the_first_packets(monkeypatch: pytest.MonkeyPatch) -> None:
    made, now = Supervisor([], keeps_spare=True), time.monotonic()
    made._prepare()
    first = made._spare
    assert first is None, "none has begun"
    assert made._spare_due < now + supervisor.SPARE_LOST_SECONDS, "it is looked at again soon"
    made._has_begun = True
    monkeypatch.setattr(os, "fork", lambda: 12345)
    made._prepare()
    assert made._spare is not None
    assert made._spare_due == 0
    made._spare.hang_up()


def orphan() -> int:
    """A process that has ended, as one that was left to the first of a container."""
    pid = os.posix_spawn("/bin/true", ["true"], {})
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    return pid


def is_buried(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


@pytest.mark.usefixtures("signals")
def test_who_stands_by_buries_the_dead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
    monkeypatch.setattr(supervisor, "STAND_BY_SECONDS", 0)
    made, dead = Supervisor([], keeps_spare=False), orphan()
    (tmp_path / "lock").touch()
    made._kept.put(LOCK, bytes(tmp_path / "lock"), [])
    monkeypatch.setattr(made, "_start", lambda: is_buried(dead))
    assert made._stand_by()


@pytest.mark.usefixtures("signals")
def test_who_waits_buries_the_dead() -> None:
    made, dead = Supervisor([], keeps_spare=False), orphan()
    made._sleep(0.01)
    assert is_buried(dead)


@pytest.mark.usefixtures("signals")
@pytest.mark.parametrize("stopping", [False, True])
def test_a_spare_may_end_with_all_else(
    capfd: pytest.CaptureFixture[str], *, stopping: bool
) -> None:
    made = Supervisor([], keeps_spare=True)
    with pair() as (ours, _):
        made._spare = Child(orphan(), ours)
        made._stopping = time.monotonic() if stopping else 0.0
        made._reap()
        assert vars(made)["_spare"] is None
    assert ("spare-lost" in capfd.readouterr().err) is not stopping


def test_a_fork_that_fails_leaves_no_descriptor(monkeypatch: pytest.MonkeyPatch) -> None:
    def fork() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", fork)
    before = descriptors()
    with pytest.raises(BlockingIOError):
        Child.start([], waits=True)
    assert descriptors() == before


@pytest.mark.usefixtures("signals")
@pytest.mark.parametrize("wanted", [True, False])
def test_whether_one_waits_is_a_flag(monkeypatch: pytest.MonkeyPatch, *, wanted: bool) -> None:
    class ExecutedError(Exception):
        pass

    def execv(path: str, words: list[str]) -> None:
        assert path == words[0] == sys.executable
        assert Path(words[3]).parts[-3:] == ("fwd", "supervisor", "__main__.py")
        assert words[4:7] == ["spare" if wanted else "no-spare", form, "--supervise"]
        raise ExecutedError

    monkeypatch.setattr(os, "execv", execv)
    monkeypatch.delenv(STORE, raising=False)
    form = "json" if wanted else "text"
    words = ["--supervise", f"--spare={wanted}", f"--log-format={form}", "--confine=off"]
    with pytest.raises(ExecutedError):
        cli.main(["run", *words])
    made = Supervisor([], keeps_spare=wanted)
    monkeypatch.setattr(os, "fork", lambda: 12345)
    assert made._start()
    assert bool(made._spare_due) is wanted
    assert made._agent is not None
    made._agent.hang_up()


SPARE_PROGRAM = f"""
import os, sys
from fwd.node.handover import spare
from fwd.node.handover.store import Store
store = Store.of_environment(os.environ)
if os.environ.pop("{SPARE}", ""):
    if sys.argv[1] == "changed":
        spare.files_of = lambda package: object()
    spare.wait_for_turn(store)
    store.put("same", b"")
else:
    store.put("anew", b"")
"""


@contextmanager
def spare_process(case: str) -> Iterator[tuple[subprocess.Popen[bytes], socket.socket]]:
    with pair() as (ours, theirs):
        made = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", SPARE_PROGRAM, case],
            env=os.environ | {STORE: str(theirs.fileno()), SPARE: "1"},
            pass_fds=[theirs.fileno()],
        )
        theirs.close()
        try:
            yield made, ours
        finally:
            made.kill()
            made.wait(LIMIT)


@pytest.mark.parametrize(("case", "answer"), [("as it was", "same"), ("changed", "anew")])
def test_a_spare_begins_anew_if_its_files_are_others(case: str, answer: str) -> None:
    with spare_process(case) as (process, talk):
        talk.send(GO)
        assert talk.recv(100) == f"put {answer}\n".encode()
        talk.send(b"ok")
        assert process.wait(LIMIT) == 0


def test_a_spare_ends_with_its_supervisor() -> None:
    with spare_process("as it was") as (process, talk):
        comm = Path(f"/proc/{process.pid}/comm")
        while comm.read_text() != "fwd-spare\n":
            assert process.poll() is None
        talk.close()
        assert process.wait(LIMIT) == 0


def test_a_file_that_was_replaced_is_another_one(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "__pycache__").mkdir()
    for name in ("a.py", "in/b.py", "in/c.so"):
        (tmp_path / name).write_text("1")
    before = files_of(tmp_path)
    assert len(before) == 3
    (tmp_path / "__pycache__" / "a.py").write_text("made by the interpreter")
    (tmp_path / "in" / "notes").write_text("nobody loads it")
    assert files_of(tmp_path) == before
    new = tmp_path / "new"
    new.write_text("1")
    os.utime(new, ns=(0, (tmp_path / "in" / "b.py").stat().st_mtime_ns))
    new.rename(tmp_path / "in" / "b.py")
    assert files_of(tmp_path) != before
