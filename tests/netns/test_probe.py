# SPDX-License-Identifier: Apache-2.0
"""Echo requests across a router with a narrow link, by ping sockets and by raw ones."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from ipaddress import ip_address
from typing import TypeVar

import pytest

from fwd.model import IPV4, IPV6, Address, FwdError
from fwd.ops.probe.echo import Outcome, Prober
from fwd.ops.probe.echosocket import EchoSocket
from fwd.ops.probe.series import largest, round_trips, series
from tests.netns.names import own
from tests.netns.namespace import Namespace
from tests.netns.sockets import call_in

pytestmark = pytest.mark.netns

T = TypeVar("T")
NARROW = 1400
FAR = {IPV4: ip_address("10.9.2.2"), IPV6: ip_address("fd09:2::2")}
NEAR = {IPV4: ip_address("10.9.1.9"), IPV6: ip_address("fd09:1::9")}
ROUTER = {IPV4: ip_address("10.9.1.1"), IPV6: ip_address("fd09:1::1")}
NOWHERE = {IPV4: ip_address("10.9.3.1"), IPV6: ip_address("fd09:3::1")}
NOBODY = {IPV4: ip_address("10.9.1.77"), IPV6: ip_address("fd09:1::77")}
RANGES = {"ping": "0 2147483647", "raw": "1 0"}


class Path:
    """near -- router -- far; the second link takes 1400 bytes only, on the router's side."""

    def __init__(self) -> None:
        self.near, self.router, self.far = (Namespace(own(f"pr-{name}")) for name in "nrf")
        for node in (self.near, self.router, self.far):  # or nobody answers for a second or two
            node.run("sh", "-c", "echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad")
        for number, node, last in ((1, self.near, 9), (2, self.far, 2)):
            peer = ("peer", "name", f"r{number}", "netns", self.router.name)
            node.ip("link", "add", "u0", "type", "veth", *peer)
            self._address(self.router, f"r{number}", number, 1)
            self._address(node, "u0", number, last)
            node.ip("route", "add", "default", "via", f"10.9.{number}.1")
            node.ip("-6", "route", "add", "default", "via", f"fd09:{number}::1")
        for (
            nobody
        ) in NOBODY.values():  # or the kernel says after three seconds that he is not there
            link = ("lladdr", "02:00:00:00:00:77", "dev", "u0")
            self.near.ip("neighbour", "add", str(nobody), *link)
        for name in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
            self.router.run("sh", "-c", f"echo 1 >/proc/sys/net/{name}")
        self.router.run("sh", "-c", "echo 0 >/proc/sys/net/ipv4/icmp_ratelimit")

    @staticmethod
    def _address(node: Namespace, device: str, link: int, last: int) -> None:
        node.ip("address", "add", f"10.9.{link}.{last}/24", "dev", device)
        node.ip("address", "add", f"fd09:{link}::{last}/64", "dev", device, "nodad")
        node.ip("link", "set", device, "up")

    def narrow(self) -> None:
        """Its router says so, where a packet may not be cut."""
        self.router.ip("link", "set", "r2", "mtu", str(NARROW))
        self.far.ip("link", "set", "u0", "mtu", str(NARROW))

    def range(self, text: str) -> None:
        self.near.run("sh", "-c", f'echo "{text}" >/proc/sys/net/ipv4/ping_group_range')

    def remove(self) -> None:
        for one in (self.near, self.router, self.far):
            one.remove()


@pytest.fixture(scope="module")
def path() -> Iterator[Path]:
    made = Path()
    try:
        made.narrow()
        yield made
    finally:
        made.remove()


def within(path: Path, work: Callable[[], Awaitable[T]]) -> T:
    """Runs it in a loop of its own, in the near node."""

    async def run() -> T:
        return await work()

    return call_in(path.near.name, lambda: asyncio.run(run()))


@pytest.fixture(params=["ping", "raw"])
def kind(request: pytest.FixtureRequest, path: Path) -> str:
    path.range(RANGES[request.param])
    return str(request.param)


@pytest.mark.parametrize("family", [IPV4, IPV6])
def test_what_becomes_of_a_request(path: Path, kind: str, family: int) -> None:
    async def work() -> None:
        async with Prober(family) as prober:
            assert prober.kind == kind

            async def echo(address: Address, size: int = 0) -> Outcome:
                return (await prober.echo(address, size=size, timeout=0.5)).outcome

            many = await asyncio.gather(*(echo(FAR[family], 1400 - n) for n in range(50)))
            assert set(many) == {Outcome.REPLY}
            reply = await prober.echo(FAR[family], timeout=1)
            assert (reply.sender, reply.size) == (FAR[family], 84 if family == IPV4 else 104)
            assert reply.seconds is not None
            assert 0 < reply.seconds < 1

            far = await prober.echo(FAR[family], size=1500, timeout=1)
            assert (far.outcome, far.mtu) == (Outcome.TOO_BIG, NARROW)
            assert far.sender == ROUTER[family]
            here = await prober.echo(ROUTER[family], size=1501, timeout=1)
            assert (here.outcome, here.sender) == (Outcome.TOO_BIG, None)
            assert await echo(ROUTER[family], 1500) is Outcome.REPLY

            gone = await prober.echo(NOWHERE[family], timeout=1)
            assert (gone.outcome, gone.sender) == (Outcome.UNREACHABLE, ROUTER[family])
            assert f"says {ROUTER[family]}" in gone.error
            assert await echo(NOBODY[family]) is Outcome.SILENCE
            assert await echo(FAR[family]) is Outcome.REPLY

    within(path, work)


@pytest.mark.parametrize("family", [IPV4, IPV6])
def test_the_largest_that_passes(path: Path, kind: str, family: int) -> None:
    async def work() -> int:
        async with Prober(family, device="u0") as prober:
            assert prober.kind == kind
            seen = [
                one
                async for one in series(
                    prober, FAR[family], count=3, interval=0, timeout=1, size=100
                )
            ]
            found = round_trips(seen)
            assert (found.sent, found.received, found.loss, found.said) == (3, 3, 0, "")
            assert None not in (found.shortest, found.mean, found.longest)
            assert 0 < (found.shortest or 0) <= (found.mean or 0) <= (found.longest or 0) < 1
            assert (
                await largest(prober, FAR[family], passes=100, most=NARROW, timeout=0.5) == NARROW
            )
            return await largest(prober, FAR[family], passes=100, most=1500, timeout=0.5)

    assert within(path, work) == NARROW


@pytest.mark.parametrize("family", [IPV4, IPV6])
def test_nobody_is_waited_for_longer_than_said(path: Path, kind: str, family: int) -> None:
    async def work() -> None:
        async with Prober(family, source=NEAR[family]) as prober:
            assert prober.kind == kind
            seen = [
                one
                async for one in series(prober, NOBODY[family], count=2, interval=0, timeout=0.05)
            ]
            found = round_trips(seen)
            assert (found.received, found.loss, found.said) == (0, 1.0, "no answer")
            assert found.mean is None

    within(path, work)


def test_who_may_not_is_told_what_to_do(path: Path) -> None:
    path.range(RANGES["raw"])
    with pytest.raises(FwdError, match=r"CAP_NET_RAW.*ping_group_range"):
        call_in(path.near.name, _open_as_nobody)


def _open_as_nobody() -> None:
    """In a child, as rights are the process's."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        try:
            EchoSocket.open(IPV4)
        except FwdError as error:
            os.write(writing, str(error).encode())
        os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    said = os.read(reading, 4096).decode()
    os.close(reading)
    if said:
        raise FwdError(said)
