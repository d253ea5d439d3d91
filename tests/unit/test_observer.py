# SPDX-License-Identifier: Apache-2.0
"""What an agent tells of drops after a hand-over, and whose they are by the leases in force."""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from ipaddress import ip_address, ip_network
from types import SimpleNamespace
from typing import Any

import pytest

from fwd.core.packetrecord import RECORD, Point
from fwd.model import Lease
from fwd.ops.control import DropsRequest
from fwd.ops.drops import DropLine
from fwd.ops.observer import Observer
from fwd.plane import ALL_OFFLOADS, counter_info

REASON = "in_unknown_peer"
VERDICT = [info.name for info in counter_info()].index(REASON)


def lease(node: str, address: str) -> Lease:
    return Lease(
        node=node,
        subnet=ip_network("10.244.2.0/24"),
        public_ip=ip_address(address),
        vtep_mac=b"\2" * 6,
        vni=1,
    )


class APlane:
    """Drops what comes from an address."""

    wanted = offloads = ALL_OFFLOADS
    settings = SimpleNamespace(device="flannel.1")

    def __init__(self) -> None:
        self.senders: list[str] = []

    def drops(self) -> bytes:
        found = b"".join(
            RECORD.pack(
                RECORD.size, 0, 0, 1, 0, VERDICT, 0, Point.FROM_UNDERLAY, 0,
                ip_address(sender).packed.ljust(16, b"\0"),
            )
            for sender in self.senders
        )  # fmt: skip
        self.senders = []
        return found

    def processor_times(self) -> tuple[()]:
        return ()


class ABook:
    """Counts who reads it."""

    def __init__(self, leases: tuple[Lease, ...]) -> None:
        self.now = leases
        self.reads = 0

    @property
    def leases(self) -> tuple[Lease, ...]:
        self.reads += 1
        return self.now


def observer(
    *, inherited: Iterable[Mapping[str, int]] = ({},), leases: tuple[Lease, ...] = ()
) -> tuple[Observer, Any]:
    """Of an agent with a tunnel for each of `inherited`, and what it forwards by."""
    layout = SimpleNamespace(device="flannel.1", mtu=1450)
    station = SimpleNamespace(
        layout=layout,
        lease=lease("n1", "192.168.50.1"),
        underlay=SimpleNamespace(name="eth0", address="192.168.50.1", mtu=1500),
    )
    forwarders = []
    for counted in inherited:
        totals = Counter(counted)
        tunnel = SimpleNamespace(
            plane=APlane(), inherited=Counter(counted), totals=totals, counters=totals.copy
        )
        forwarders.append(SimpleNamespace(station=station, tunnel=tunnel, family=4, leases=()))
    forwarding: Any = SimpleNamespace(
        forwarders=forwarders,
        tunnels=[one.tunnel for one in forwarders],
        book=ABook(leases),
    )
    nobody: Any = None
    return Observer(forwarding, source=nobody, host=nobody, saver=nobody), forwarding


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        text.partition(" text=")[0]
        for text in caplog.messages
        if text.startswith(("event=drops ", "event=udp-segment-refused "))
    ]


def test_drops_before_a_hand_over_are_not_told_again(caplog: pytest.LogCaptureFixture) -> None:
    before = {REASON: 5_000_000, "out_gso_refused": 9}
    watching, forwarding = observer(inherited=(before, before))
    caplog.set_level(logging.INFO, "fwd")
    watching.forwarding(leases_of="source")
    watching.tick()
    assert told(caplog) == []
    forwarding.tunnels[1].totals[REASON] += 3
    forwarding.tunnels[1].totals["in_ecn"] += 1
    watching.tick()
    assert sorted(told(caplog)) == [
        "event=drops reason=in_ecn count=1 total=1",
        f"event=drops reason={REASON} count=3 total=10000003",
    ]


class AnAsker:
    """Keeps what it is sent."""

    def __init__(self) -> None:
        self.lines: list[DropLine] = []

    async def send_line(self, line: DropLine) -> None:
        self.lines.append(line)


async def test_a_drop_has_the_name_of_its_node_by_the_leases_of_the_moment() -> None:
    first, second = lease("n2", "192.168.50.2"), lease("n3", "192.168.50.3")
    watching, forwarding = observer(leases=(first,))
    for leases in ((first,), (first, second), (second,)):
        forwarding.book.now = leases
        forwarding.tunnels[0].plane.senders = ["192.168.50.2", "192.168.50.3"]
        watching.tick()
    assert forwarding.book.reads == 3, "once a second, not for each drop"
    asker: Any = AnAsker()
    await watching.serve(DropsRequest(), asker)
    assert [line.node for line in asker.lines] == ["n2", "", "n2", "n3", "", "n3"]
