# SPDX-License-Identifier: Apache-2.0
"""Descriptors that another process has left, of real devices: only right ones are gone on with.

Excluded: what is done about the others (tests/unit/test_handover_received.py).
"""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from ipaddress import ip_address
from typing import Any

import pytest
from msgspec.structs import replace

from fwd.core import handovertalk as talk
from fwd.model import Plan
from fwd.node.handover.keeping import StoreKeeping, revive
from fwd.node.handover.kits import describe, sort_out
from fwd.node.handover.store import Entry, Store
from fwd.plane import Offload, Plane, PlaneSettings, pack_table
from fwd.supervisor.words import TABLE
from tests.netns.agent_support import EACH_FAMILY, FACTS
from tests.netns.names import own
from tests.netns.namespace import Namespace, wait_for
from tests.netns.sockets import call_in

pytestmark = [pytest.mark.netns, pytest.mark.root, EACH_FAMILY]

PORT = 8472


class Left:
    """A namespace, and what a plane in it has left: a kit and its descriptors."""

    def __init__(self, family: int, stack: ExitStack) -> None:
        self.family = family
        self._stack = stack
        self.namespace = Namespace(own("kits"))
        stack.callback(self.namespace.remove)
        self.device = FACTS[family].device
        self.plane = self.open(self.device, PORT)
        self.kit = describe(self.plane)
        self._copies = [os.dup(one) for one in self.plane.descriptors.all]
        self.fds = list(self._copies)
        stack.callback(self.close)

    def close(self) -> None:
        """The process is gone that made the plane, and whoever had copies."""
        self.plane.close()
        while self._copies:
            os.close(self._copies.pop())

    def open(self, device: str, port: int) -> Plane:
        facts = FACTS[self.family]
        settings = PlaneSettings(
            device=device,
            family=self.family,
            mac=b"\2\0\0\0\0\1",
            local=ip_address(facts.loopback),
            vni=1,
            port=port,
            mtu=facts.mtu,
            workers=2,
            sources=2,
        )
        plane = call_in(self.namespace.name, lambda: Plane.open(settings))
        self._stack.callback(plane.close)
        return plane

    def bound(self, address: str = "", port: int = PORT + 1, *, kind: int = 0) -> int:
        """A socket, UDP and at the right address unless told otherwise."""
        address = address or FACTS[self.family].loopback
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        name, kind = self.namespace.name, kind or socket.SOCK_DGRAM
        sock = call_in(name, lambda: socket.socket(family, kind))
        self._stack.callback(sock.close)
        sock.bind((address, port))
        return sock.fileno()

    def other_queue(self) -> int:
        return self.open("other.1", PORT + 2).descriptors.tun[0]

    def pipe(self) -> int:
        ends = os.pipe()
        for one in ends:
            self._stack.callback(os.close, one)
        return ends[1]

    def queues(self) -> int:
        """Of the device, which somebody has open."""
        (link,) = self.namespace.show("link", "show", self.device)
        data = link["linkinfo"]["info_data"]
        return int(data.get("numqueues", 0) + data.get("numdisabled", 0))


@pytest.fixture
def left(family: int) -> Iterator[Left]:
    with ExitStack() as stack:
        yield Left(family, stack)


def open_here() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a count


def test_right_ones_are_gone_on_with(left: Left) -> None:
    found, was = sort_out(left.kit, left.fds), left.plane.descriptors
    assert found.all == tuple(left.fds)
    assert found.granted == was.granted
    assert [len(found.tun), len(found.listen), len(found.source)] == [
        *(len(was.tun), len(was.listen), len(was.source))
    ]


TUN, LISTEN, SOURCE = "tun", "listen", "source"
ANY = {4: "0.0.0.0", 6: "::"}
ELSEWHERE = {4: "::1", 6: "127.0.0.1"}
"""Another family's."""


@pytest.mark.parametrize(
    ("place", "wrong", "says"),
    [
        (TUN, Left.other_queue, "a queue of another device or kind"),
        (TUN, Left.pipe, "a queue that is none"),
        (TUN, Left.bound, "a queue that is none"),
        (LISTEN, Left.bound, "not bound to"),
        (LISTEN, lambda left: left.bound(ANY[left.family]), "not bound to"),
        (LISTEN, lambda left: left.bound(kind=socket.SOCK_STREAM, port=PORT), "not bound to"),
        (LISTEN, lambda left: left.bound(ELSEWHERE[left.family], PORT), "not bound to"),
        (LISTEN, Left.pipe, "not bound to"),
        (SOURCE, lambda left: left.bound(ANY[left.family]), "not bound to"),
        (SOURCE, lambda left: left.bound(kind=socket.SOCK_STREAM), "not bound to"),
        (SOURCE, lambda left: left.bound(ELSEWHERE[left.family]), "not bound to"),
    ],
    ids=[
        *(f"{TUN} {what}" for what in ("of another device", "a pipe", "a socket")),
        *(f"{LISTEN} {what}" for what in ("port", "address", "TCP", "family", "a pipe")),
        *(f"{SOURCE} {what}" for what in ("address", "TCP", "family")),
    ],
)
@pytest.mark.parametrize("which", [0, -1], ids=["first", "last"])
def test_a_wrong_one_is_seen_wherever_it_is(
    left: Left, place: str, wrong: Callable[[Left], int], says: str, which: int
) -> None:
    own_ones: tuple[int, ...] = getattr(sort_out(left.kit, left.fds), place)
    left.fds[left.fds.index(own_ones[which])] = wrong(left)
    before = open_here()
    with pytest.raises(ValueError, match=f"^{left.device}: .*{says}"):
        sort_out(left.kit, left.fds)
    assert open_here() == before


@pytest.mark.parametrize("said", [Offload.VNET_HDR, Offload.MULTI_QUEUE])
def test_a_queue_of_another_kind_than_the_kit_says_is_none(left: Left, said: Offload) -> None:
    kit = replace(left.kit, granted=left.kit.granted ^ said)
    with pytest.raises(ValueError, match="a queue of another device or kind"):
        sort_out(kit, left.fds)


def test_a_tun_is_no_tap(left: Left) -> None:
    with pytest.raises(ValueError, match="a queue of another device or kind"):
        sort_out(replace(left.kit, taps=1), [*left.fds, left.plane.descriptors.tun[0]])


def test_a_device_that_is_gone_has_no_queues(left: Left) -> None:
    left.namespace.ip("link", "del", left.device)
    with pytest.raises(ValueError, match="a queue that is none"):
        sort_out(left.kit, left.fds)


def entries(left: Left, table: bytes) -> dict[str, Entry]:
    """As a supervisor has them after a crash."""
    fd = os.memfd_create("table")
    os.write(fd, table)
    kept = [os.dup(one) for one in left.fds]
    left.close()
    return {
        left.device: Entry(talk.encode(left.kit), kept),
        left.device + TABLE: Entry(b"", [fd]),
    }


def test_a_kit_and_its_table_forward_again(left: Left) -> None:
    wanted = left.plane.settings
    revived = revive(entries(left, pack_table(Plan())), StoreKeeping(Store()))
    (plane,) = revived.planes
    assert plane.settings == wanted
    wait_for("workers", lambda: all(plane.threads()))
    assert left.queues() > 0
    revived.abort()
    assert left.queues() == 0


@pytest.mark.parametrize("table", [b"", b"fwdtab\0\2" + bytes(8), pack_table(Plan()) + b"x"])
def test_a_table_of_no_use_leaves_the_device_free(
    left: Left, caplog: pytest.LogCaptureFixture, table: bytes
) -> None:
    revived = revive(entries(left, table), StoreKeeping(Store()))
    assert revived.devices == ()
    assert f'event=not-revived device={left.device} error="no table' in caplog.text
    assert left.queues() == 0


@pytest.mark.parametrize(
    "change",
    [
        *({"mtu": 10}, {"source_check": 77}, {"cpus": (9999,)}),
        *({"vni": 1 << 40}, {"mac": b"x"}, {"icmp_rate": -1}, {"cpus": (1 << 40,)}),
    ],
    ids=str,
)
def test_a_kit_that_no_plane_takes_leaves_the_device_free(
    left: Left, caplog: pytest.LogCaptureFixture, change: dict[str, Any]
) -> None:
    """Of another version, say."""
    left.kit = replace(left.kit, **change)
    revived = revive(entries(left, pack_table(Plan())), StoreKeeping(Store()))
    assert revived.devices == ()
    assert f"event=not-revived device={left.device}" in caplog.text
    assert left.queues() == 0
