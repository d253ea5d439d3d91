# SPDX-License-Identifier: Apache-2.0
"""Both sides of a hand-over against another side that dies, is silent, or says nonsense.

The other side is the test's; tunnels and planes, which need devices, stand in by what is asked of
them (tests/netns/test_handover.py has the real ones).
"""

import asyncio
import os
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fwd.core import handovertalk as talk
from fwd.node import forwarder
from fwd.node.handover import giver, taker
from fwd.node.handover.channel import Channel
from fwd.node.handover.giver import SOCKET_NAME, Giver
from fwd.node.handover.taker import TakeOverError, Taker
from fwd.node.rundir import RunDir
from tests.unit.test_handovertalk import KIT

LIMIT = 10.0


def has_lock(run_dir: RunDir) -> bool:
    return run_dir.is_ours


class Plane:
    """What a taker asks of one."""

    def __init__(self) -> None:
        self.settings: Any = SimpleNamespace(device="flannel.1")
        self.started = 0

    def start(self) -> None:
        self.started += 1


@contextmanager
def dying(
    path: Path,
    answers: Callable[[talk.Message], talk.Message | None],
    *,
    silent: bool = False,
    kits: Sequence[tuple[talk.Kit, Sequence[int]]] = (),
    lock: int | None = None,
) -> Iterator[RunDir]:
    """An agent that hands over until `answers` has none: then it ends, or is silent.

    The kits come before Shown, and with that the lock, of whatever it is.
    """
    run_dir = RunDir.open(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(str(path / SOCKET_NAME))
    listener.listen()
    listener.settimeout(LIMIT)
    over = threading.Event()

    def live() -> None:
        sock, _ = listener.accept()
        channel = Channel(sock)
        with suppress(ConnectionResetError):  # the other side ends first
            while (answer := answers(channel.receive(LIMIT).message)) is not None:
                if isinstance(answer, talk.Shown):
                    for kit, fds in kits:
                        channel.send(kit, fds)
                    channel.send(answer, [run_dir.lock if lock is None else lock])
                else:
                    channel.send(answer)
        if silent:
            over.wait(LIMIT)
        run_dir.close()
        channel.close()

    thread = threading.Thread(target=live)
    thread.start()
    try:
        yield run_dir
    finally:
        over.set()
        thread.join(LIMIT)
        listener.close()


def until(last: type[talk.Message]) -> Callable[[talk.Message], talk.Message | None]:
    """Answers of an agent without tunnels, up to that message."""

    def answers(asked: talk.Message) -> talk.Message | None:
        if isinstance(asked, last):
            return None
        if isinstance(asked, talk.Hello):
            return talk.Welcome(node="n1", release="1", version=1)
        return talk.Shown(kits=0) if isinstance(asked, talk.Show) else talk.Bye()

    return answers


@pytest.mark.parametrize("last", [talk.Hello, talk.Show])
def test_a_giver_that_dies_before_it_has_given_means_a_cold_start(
    tmp_path: Path, last: type[talk.Message]
) -> None:
    with dying(tmp_path, until(last)):
        run_dir = RunDir.enter(tmp_path)
        assert not has_lock(run_dir)
        ours, plane = Taker(run_dir, node="n1"), Plane()
        assert ours.take(plane.settings) is None
        assert ours.take(plane.settings) is None, "for the next device as well"
        assert ours.start(plane) == {}  # type: ignore[arg-type]
        ours.done()
        assert plane.started == 1
        assert has_lock(run_dir)
        run_dir.close()


def test_a_giver_that_dies_when_asked_to_stop_has_stopped(tmp_path: Path) -> None:
    with dying(tmp_path, until(talk.Stop)):
        run_dir = RunDir.enter(tmp_path)
        ours, plane = Taker(run_dir, node="n1"), Plane()
        assert ours.take(plane.settings) is None
        assert not has_lock(run_dir)
        ours._taken.add("flannel.1")  # as if there had been a kit
        assert ours.start(plane) == {}  # type: ignore[arg-type]
        assert plane.started == 1
        ours.done()
        assert has_lock(run_dir)
        run_dir.close()


def test_a_giver_that_is_silent_keeps_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taker, "HEAR_SECONDS", 0.1)
    with dying(tmp_path, until(talk.Stop), silent=True):
        run_dir = RunDir.enter(tmp_path)
        ours, plane = Taker(run_dir, node="n1"), Plane()
        assert ours.take(plane.settings) is None
        ours._taken.add("flannel.1")
        with pytest.raises(TakeOverError, match=r"no answer in 0\.1 s"):
            ours.start(plane)  # type: ignore[arg-type]
        assert plane.started == 0
        assert not has_lock(run_dir)
        ours.abort()
        run_dir.close()


class Tunnel:
    """What a giver asks of one."""

    def __init__(self) -> None:
        self.layout = SimpleNamespace(device="flannel.1")
        self.plane = SimpleNamespace(descriptors=SimpleNamespace(all=[]))
        self.said: list[str] = []

    def pause(self) -> tuple[dict[str, int], bytes]:
        self.said.append("pause")
        return {}, b""

    def resume(self) -> None:
        self.said.append("resume")


async def _saved() -> None:
    pass


@pytest.mark.parametrize(("stops", "seconds"), [(False, "0.2"), (True, "0.4")])
async def test_who_is_silent_has_taken_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    *,
    stops: bool,
    seconds: str,
) -> None:
    """Once a tunnel is stopped a giver is more patient than any taker."""
    monkeypatch.setattr(giver, "HEAR_SECONDS", 0.2)
    monkeypatch.setattr(giver, "STOPPED_SECONDS", 0.4)
    monkeypatch.setattr(giver, "describe", lambda _: KIT)
    run_dir, tunnel = RunDir.open(tmp_path), Tunnel()
    made = Giver.open(run_dir, node="n1", tunnels=lambda: [tunnel], save=_saved)  # type: ignore[list-item]
    made.take_name()
    serving = asyncio.create_task(made.serve())
    asked = [
        talk.Hello(node="n1", release="99", oldest=1, newest=1),
        talk.Show(),
        *([talk.Stop(device="flannel.1")] if stops else []),
    ]
    channel = Channel.connect(tmp_path / SOCKET_NAME)
    try:
        for message in asked:
            channel.send(message)
            (await channel.next(LIMIT)).close()
        async with asyncio.timeout(LIMIT):
            while "hand-over-failed" not in caplog.text:  # noqa: ASYNC110 - logging knows no events
                await asyncio.sleep(0.01)
    finally:
        channel.close()
        serving.cancel()
        made.close()
        run_dir.close()
    assert f"said nothing for {seconds} s" in caplog.text
    assert tunnel.said == (["pause", "resume"] if stops else [])


def test_a_giver_is_more_patient_than_a_taker_once_something_is_stopped() -> None:
    assert giver.STOPPED_SECONDS > 2 * taker.HEAR_SECONDS


async def test_routes_past_the_tunnel_are_made_once_nobody_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    did: list[str] = []

    class OpenTunnel:
        def __init__(self, *_: object) -> None:
            pass

        def commit(self, _plan: object) -> None:
            did.append("commit")

        async def open(self) -> None:
            did.append("open")

    class Routes:
        async def follow(self, _leases: object) -> None:
            did.append("routes")

    monkeypatch.setattr(forwarder, "Tunnel", OpenTunnel)
    made = forwarder.Forwarder(4, None, direct_routing=True)  # type: ignore[arg-type]
    made.direct = Routes()  # type: ignore[assignment]
    await made.begin(SimpleNamespace(layout=None, settings=None), ())  # type: ignore[arg-type]
    assert did == ["commit", "open"], "the agent before still waits for our word"
    await made.follow_direct()
    assert did[2:] == ["routes"]


def test_no_descriptor_is_left(tmp_path: Path) -> None:
    def count() -> int:
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a count

    before = count()
    test_a_giver_that_dies_when_asked_to_stop_has_stopped(tmp_path)
    assert count() == before
