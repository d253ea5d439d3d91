# SPDX-License-Identifier: Apache-2.0
"""What is said of a peer that does not answer, by the drops that the agent tells meanwhile."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from functools import partial
from ipaddress import ip_address, ip_network
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from msgspec import structs

from fwd.config import run_config
from fwd.model import Address, Lease
from fwd.ops.control import Asker, ControlServer, Request, StatusRequest
from fwd.ops.doctor import running, silence
from fwd.ops.doctor.checks import netconf
from fwd.ops.doctor.finding import Finding
from fwd.ops.doctor.patient import Options, Patient
from fwd.ops.drops import DropLine, stamp
from fwd.ops.probe.echo import Echo, Outcome, Prober
from fwd.ops.status import DropStatus, Status
from tests.unit.status_document import DOCUMENT, TUNNEL

OWN, PEER, OUTER = "10.244.1.0", "10.244.2.0", "192.168.50.2"
LEASE = Lease("n2", ip_network("10.244.2.0/24"), ip_address(OUTER), bytes(6), 1)
Dropped = Callable[[int], list[DropLine]]
"""At one request, of so many."""


def line(
    reason: str, *, outer: str = "", src: str = PEER, dst: str = OWN, age: int = 0
) -> DropLine:
    """A packet that came in, unless its reason is one of those that go out."""
    return DropLine(
        time=stamp(time.time_ns() - age * 10**9),
        device="flannel.1",
        direction=reason.partition("_")[0],
        reason=reason,
        text="",
        length=84,
        head="",
        outer=outer,
        src=src,
        dst=dst,
        protocol="icmp",
    )


class Agent:
    """Answers on its socket; what it drops comes from the test."""

    def __init__(self) -> None:
        self.drops: list[DropLine] = []

    async def serve(self, request: Request, asker: Asker) -> None:
        is_status = isinstance(request, StatusRequest)
        for one in [self._status()] if is_status else self.drops:
            await asker.send_line(one)

    def _status(self) -> Status:
        """With counters that grow by the drops of all."""
        counts = Counter(one.reason for one in self.drops)
        drops = tuple(DropStatus(reason, count, "") for reason, count in counts.items())
        return structs.replace(DOCUMENT, tunnels=(structs.replace(TUNNEL, drops=drops),))


class Requests:
    """A prober whose requests nobody answers."""

    def __init__(self, agent: Agent, dropped: Dropped) -> None:
        self._sent = 0
        self._agent = agent
        self._dropped = dropped

    async def echo(self, address: Address, **_: object) -> Echo:
        self._agent.drops += self._dropped(self._sent)
        self._sent += 1
        return Echo(address=address, size=84, outcome=Outcome.SILENCE, error="no answer")


@pytest.fixture
async def agent(tmp_path: Path) -> AsyncIterator[Agent]:
    made = Agent()
    server = await ControlServer.open(tmp_path, made.serve)
    server.take_name()
    yield made
    server.close()


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the time."""
    monkeypatch.setattr(silence, "_next_second", partial(asyncio.sleep, 0, time.time_ns()))


async def explained(agent: Agent, run_dir: Path, dropped: Dropped) -> Finding:
    conf = run_dir / "net-conf.json"
    conf.write_text(json.dumps({"Network": "10.244.0.0/16", "Backend": {"Type": "vxlan"}}))
    flags = ["--run-dir", str(run_dir), "--node-name", "n1", "--static-leases", "leases.json"]
    config = run_config([*flags, "--net-config-path", str(conf)], {})
    found = await asyncio.to_thread(running.find, run_dir)
    patient = Patient(config, Options(peers=True), agent=found)
    assert len(list(netconf.look(patient))) == 1
    requests = Requests(agent, dropped)
    return await silence.explain(patient, cast("Prober", requests), LEASE, "no answer")


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (lambda: line("in_wrong_mac", outer=OUTER), "wrong MAC: it answers to another"),
        (lambda: line("in_unknown_peer", outer="203.0.113.9"), "rejected by the source check"),
        (lambda: line("in_spoofed_source", outer=OUTER, src="192.0.2.7"), "rejected by the source"),
        (lambda: line("out_unreachable", src=OWN, dst=PEER), "the underlay has no way to"),
        (lambda: line("in_ecn", outer=OUTER), "its packets are dropped here: in_ecn"),
    ],
)
async def test_its_own_drops_say_why(
    agent: Agent, tmp_path: Path, one: Callable[[], DropLine], expected: str
) -> None:
    """Though one of four requests gets lost elsewhere."""
    found = await explained(agent, tmp_path, lambda number: [one()] if number else [])
    assert found.found.startswith(expected)


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize(
    "others",
    [
        lambda: [line("out_no_route", src=OWN, dst="10.244.77.1")] * 2,
        lambda: [line("out_no_route", src="10.244.1.2", dst="10.244.77.1")] * 2,
        lambda: [line("in_unknown_peer", outer="203.0.113.9", src="10.244.9.0")] * 2,
        lambda: [line("in_other_vni", outer=OUTER, src="10.0.0.5", dst="10.0.1.5")] * 2,
        lambda: [line("in_wrong_mac", outer=OUTER, age=5)] * 5,
    ],
)
async def test_the_drops_of_others_do_not(
    agent: Agent, tmp_path: Path, others: Callable[[], list[DropLine]]
) -> None:
    """Of a peer that is simply down, however they come."""
    found = await explained(agent, tmp_path, lambda _: others())
    assert found.found == f"no answer from {PEER}: no answer"
    assert found.remedy == "see that the agent of n2 runs"


async def test_as_many_drops_of_others_as_are_told_make_it_uncertain(
    agent: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ten of the second, from its begin on, when nobody has been asked yet."""
    second = time.time_ns()
    monkeypatch.setattr(silence, "_next_second", partial(asyncio.sleep, 0, second))
    agent.drops = [line("in_other_vni", outer=OUTER, src="10.0.0.5", dst="10.0.1.5")] * 10
    found = await explained(agent, tmp_path, lambda _: [])
    assert found.found.startswith(f"no answer from {PEER}: no answer; uncertain: ")
    assert found.found.endswith(": in_other_vni")
    assert found.remedy.startswith("mend those drops first (fwd drops) and ask again; then ")


async def test_it_is_asked_as_a_second_begins(
    agent: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In each one the data plane tells ten drops of a reason, so strangers could use them up."""
    order: list[float | str] = []

    async def sleep(seconds: float) -> None:
        order.append(seconds)

    def asked(_: int) -> list[DropLine]:
        order.append("asked")
        return []

    clock = SimpleNamespace(monotonic=lambda: 7.25, time_ns=lambda: 90_250_000_000)
    monkeypatch.setattr(silence, "time", clock)
    monkeypatch.setattr(asyncio, "sleep", sleep)
    await explained(agent, tmp_path, asked)
    assert order[:2] == [pytest.approx(0.76), "asked"]
    assert await silence._next_second() == 90_000_000_000


async def test_nothing_was_ever_dropped(agent: Agent, tmp_path: Path) -> None:
    assert agent.drops == []
    assert await asyncio.to_thread(running.drops_since, tmp_path, 0) == []
