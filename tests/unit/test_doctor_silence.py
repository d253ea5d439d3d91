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
        self.sent: list[float] = []
        self._agent = agent
        self._dropped = dropped

    async def echo(self, address: Address, **_: object) -> Echo:
        self._agent.drops += self._dropped(len(self.sent))
        self.sent.append(time.monotonic())
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
    monkeypatch.setattr(silence, "_next_second", partial(asyncio.sleep, 0))


async def explained(agent: Agent, run_dir: Path, dropped: Dropped) -> tuple[Finding, list[float]]:
    conf = run_dir / "net-conf.json"
    conf.write_text(json.dumps({"Network": "10.244.0.0/16", "Backend": {"Type": "vxlan"}}))
    flags = ["--run-dir", str(run_dir), "--node-name", "n1", "--static-leases", "leases.json"]
    config = run_config([*flags, "--net-config-path", str(conf)], {})
    found = await asyncio.to_thread(running.find, run_dir)
    patient = Patient(config, Options(peers=True), agent=found)
    assert len(list(netconf.look(patient))) == 1
    requests = Requests(agent, dropped)
    said = await silence.explain(patient, cast("Prober", requests), LEASE, "no answer")
    return said, requests.sent


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
    found, _ = await explained(agent, tmp_path, lambda number: [one()] if number else [])
    assert found.found.startswith(expected)


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize(
    "others",
    [
        lambda: [line("out_no_route", src=OWN, dst="10.244.77.1")] * 8,
        lambda: [line("out_no_route", src="10.244.1.2", dst="10.244.77.1")] * 8,
        lambda: [line("in_unknown_peer", outer="203.0.113.9", src="10.244.9.0")] * 5,
        lambda: [line("in_other_vni", outer=OUTER, src="10.0.0.5", dst="10.0.1.5")] * 5,
        lambda: [line("in_wrong_mac", outer=OUTER, age=5)] * 5,
    ],
)
async def test_the_drops_of_others_do_not(
    agent: Agent, tmp_path: Path, others: Callable[[], list[DropLine]]
) -> None:
    """Of a peer that is simply down, however they come."""
    found, _ = await explained(agent, tmp_path, lambda _: others())
    assert found.found == f"no answer from {PEER}: no answer"


async def test_it_is_asked_as_a_second_begins(agent: Agent, tmp_path: Path) -> None:
    """In each one the data plane tells ten drops of a reason, so strangers could use them up."""
    _, sent = await explained(agent, tmp_path, lambda _: [])
    assert all(at % 1 < 0.5 for at in sent[:4])


async def test_nothing_was_ever_dropped(agent: Agent, tmp_path: Path) -> None:
    assert agent.drops == []
    assert await asyncio.to_thread(running.drops_since, tmp_path, 0) == []
