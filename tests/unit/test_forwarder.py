# SPDX-License-Identifier: Apache-2.0
"""A tunnel that fails under a running agent: it is closed, said and made anew, less and less often.

No device is opened (tests/netns/test_agent_reopens.py has one).
"""

import errno
import logging
from ipaddress import ip_address, ip_network
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace

from fwd.agent import Agent, Hint
from fwd.core.backoff import Backoff
from fwd.model import ConfigError, OwnLease, Snapshot
from fwd.node import forwarder as forwarder_module
from fwd.node import forwarding as forwarding_module
from fwd.node.forwarder import Forwarder
from fwd.node.forwarding import Forwarding
from fwd.node.handover.legacy import NoLegacy, Succession
from fwd.node.tunnel import Health, Tunnel
from tests.unit.in_family import EACH_FAMILY

DEVICE = "flannel.1"
REFUSED = OSError(errno.EEXIST, f"{DEVICE} exists and is a dummy device")


class Broken:
    """A tunnel that cannot be opened for as long as there is an error; and the clock."""

    def __init__(self) -> None:
        self.plane: object | None = object()
        self.behind = False
        self.error: Exception | None = None
        self.now = 1000.0
        self.tried: list[float] = []
        """After how many seconds."""

    def monotonic(self) -> float:
        return self.now

    async def check(self) -> Health:
        self.plane = None
        return Health.LOST

    async def open(self) -> None:
        self.tried.append(self.now - 1000)
        if self.error is not None:
            raise self.error
        self.plane = object()


Made = tuple[Forwarder, Broken]


@pytest.fixture
def made(family: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Made:
    caplog.set_level(logging.INFO, "fwd")
    forwarder: Any = Forwarder(family, None, direct_routing=False)  # type: ignore[arg-type]
    forwarder.station = SimpleNamespace(layout=SimpleNamespace(device=DEVICE))
    forwarder.tunnel = tunnel = Broken()
    monkeypatch.setattr(forwarder_module, "time", tunnel)
    return forwarder, tunnel


async def ticks(made: Made, seconds: int) -> None:
    for _ in range(seconds):
        made[1].now += 1
        await made[0].look_after_tunnel()


@EACH_FAMILY
@pytest.mark.parametrize("error", [REFUSED, ConfigError(str(REFUSED.strerror))], ids=["OS", "ours"])
async def test_a_device_that_cannot_be_made_anew_is_tried_less_and_less_often(
    made: Made, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    forwarder, tunnel = made
    tunnel.error = error
    await forwarder.look_after_links()
    await ticks(made, 100)
    assert tunnel.tried == [0, 1, 3, 7, 15, 31, 61, 91]
    lost, *down = caplog.messages
    assert lost == f"event=device-lost device={DEVICE}"
    assert down == [
        f'event=tunnel-down error="{REFUSED.strerror}" again-in-seconds={seconds}.0'
        for seconds in (1, 2, 4, 8, 16, 30, 30, 30)
    ]


@EACH_FAMILY
async def test_a_hint_is_no_reason_to_try_sooner(made: Made) -> None:
    forwarder, tunnel = made
    tunnel.error = REFUSED
    for _ in range(5):
        await forwarder.look_after_links()
        await forwarder.look_after_tunnel()
    assert len(tunnel.tried) == 1


@EACH_FAMILY
async def test_once_it_is_there_it_is_said_and_the_next_failure_is_the_first(
    made: Made, caplog: pytest.LogCaptureFixture
) -> None:
    forwarder, tunnel = made
    for _ in range(2):
        tunnel.error = REFUSED
        await forwarder.look_after_links()
        await ticks(made, 2)
        tunnel.error = None
        await ticks(made, 5)
        assert tunnel.plane is not None
        assert caplog.messages[-1] == f"event=tunnel-restored device={DEVICE} leases=0"
    assert tunnel.tried == [0, 1, 3, 7, 8, 10]


class Workers:
    """A plane whose workers do not start again."""

    def __init__(self, error: OSError | None) -> None:
        self.did: list[str] = []
        self._error = error

    def stop(self) -> None:
        self.did.append("stop")

    def start(self) -> None:
        self.did.append("start")
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        self.did.append("close")

    def counters(self) -> dict[str, int]:
        return {"out_sent": 7}

    def learned(self) -> bytes:
        return b""

    def peer_traffic(self) -> dict[object, object]:
        return {}


@pytest.mark.parametrize("fails", [False, True])
def test_workers_that_do_not_start_again_are_closed_for_the_next_look(
    caplog: pytest.LogCaptureFixture, *, fails: bool
) -> None:
    """After a hand-over that came to nothing."""
    dropped: list[str] = []
    keeping: Any = SimpleNamespace(drop=dropped.append)
    layout: Any = SimpleNamespace(device=DEVICE)
    tunnel = Tunnel(layout, layout, Succession(legacy=NoLegacy(), keeping=keeping))
    error = OSError(errno.EAGAIN, "Resource temporarily unavailable")
    workers: Any = Workers(error if fails else None)
    tunnel.plane = workers
    tunnel.pause()
    tunnel.resume()
    assert not tunnel.is_paused
    assert tunnel.counters() == {"out_sent": 7}, "totals stay"
    if not fails:
        assert (tunnel.plane, workers.did, dropped) == (workers, ["stop", "start"], [])
        return
    assert tunnel.plane is None
    assert workers.did == ["stop", "start", "close"]
    assert dropped == [DEVICE], "whoever keeps copies keeps the device from the next plane"
    assert f'event=not-resumed device={DEVICE} error="{error.strerror}"' in caplog.text


@pytest.mark.parametrize("event", Hint)
async def test_what_fails_is_said_and_the_next_event_is_handled(
    caplog: pytest.LogCaptureFixture, event: Hint
) -> None:
    async def fail() -> None:
        raise OSError(errno.ENOBUFS, "No buffer space available")

    wanted: list[str] = []
    agent: Any = Agent.__new__(Agent)
    agent._forwarding = SimpleNamespace(
        own_leases=(),
        addresses=(),
        underlay_trouble=None,
        subnet_env="env",
        follow_underlay=fail,
        look_after_links=fail,
        look_after_tunnels=fail,
    )
    agent._host = SimpleNamespace(want=wanted.append)
    await agent._handle(event)
    assert caplog.messages == ['event=failed error="No buffer space available"']
    assert wanted == ["env"]


MAC = b"\0\0\0\0"
OWN = OwnLease(
    "n1", ip_network("10.244.1.0/24"), underlay_ip=ip_address("192.168.0.1"), vtep_mac=MAC
)
FULL = OSError(errno.ENOBUFS, "No buffer space available")


def agent_of(forwarding: Any, told: list[object]) -> Any:  # noqa: ANN401
    """One that notes what it tells others of a snapshot."""
    agent: Any = Agent.__new__(Agent)
    agent._config = SimpleNamespace(static_leases=None)
    agent._forwarding = forwarding
    agent._again = Backoff()
    agent._observer = SimpleNamespace(
        leases_kept=lambda trouble: told.append(f"kept: {trouble}"),
        leases_in_force=lambda _, own_trouble: told.append(f"in force, but: {own_trouble}"),
    )
    agent._saver = SimpleNamespace(changed=lambda: told.append("saved"))
    agent._source = SimpleNamespace(announce=told.append)
    return agent


def forwarding_of(take: Any) -> Any:  # noqa: ANN401
    """One of IPv4, whose forwarder takes leases in this way."""
    forwarding: Any = Forwarding.__new__(Forwarding)
    forwarding._config = forwarding._conf = forwarding._run_dir = None
    forwarding._all_or_nothing = False
    station = SimpleNamespace(lease="own")
    forwarding._of = {4: SimpleNamespace(family=4, station=station, take=take)}
    forwarding.own = (OWN,)
    forwarding.book = SimpleNamespace(leases="book", replace=lambda _: None)
    return forwarding


async def test_leases_that_a_plane_cannot_take_at_once_are_in_force(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes them later, by itself.  What is wrong with the own lease is told all the same."""
    taken: list[object] = []

    async def take(_: object, leases: object) -> None:
        taken.append(leases)
        raise FULL

    async def find_station(*_: object) -> None:
        raise ConfigError("no such address")

    monkeypatch.setattr(forwarding_module, "find_station", find_station)
    forwarding = forwarding_of(take)
    told: list[object] = []
    agent = agent_of(forwarding, told)
    moved = replace(OWN, public_ip=ip_address("192.168.0.9"))
    await agent._on_snapshot(snapshot := Snapshot(own=(moved,), leases=()))
    assert taken == ["book"]
    assert told == ["in force, but: no such address", "saved"]
    assert agent._unusable is snapshot, "and is tried again"
    assert caplog.messages == [f'event=failed error="{FULL.strerror}"']


async def test_a_snapshot_that_says_nothing_of_the_own_leases_leaves_them_as_they_are() -> None:
    """Begun from a saved state, while the own Node is gone: an operator's choice in it holds."""
    taken: list[object] = []

    async def take(_: object, leases: object) -> None:
        taken.append(leases)

    forwarding, told = forwarding_of(take), list[object]()
    await agent_of(forwarding, told)._on_snapshot(Snapshot(own=(), leases=()))
    assert taken == ["book"]
    assert told == ["in force, but: None", "saved"]
    assert forwarding.own == (OWN,)


@pytest.mark.parametrize("error", [FULL, ConfigError(str(FULL.strerror))], ids=["OS", "ours"])
async def test_leases_that_are_refused_change_nothing(error: Exception) -> None:
    """An address cannot be looked up, say, where it is to be all or nothing."""

    async def take(*_: object) -> None:
        raise error

    told: list[object] = []
    agent = agent_of(SimpleNamespace(own_leases=(), take=take), told)
    await agent._on_snapshot(Snapshot(own=(), leases=()))
    assert told == [f"kept: {FULL.strerror}"]
