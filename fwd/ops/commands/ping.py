# SPDX-License-Identifier: Apache-2.0
"""`fwd ping NODE`: whether packets get through the overlay to another node and back.

What answers is the node's own stack, at the address that its VXLAN device has: its subnet's first
one.  So it works with nodes that run flannel, and needs no Pod there.
"""

import asyncio
from contextlib import suppress
from ipaddress import ip_address, ip_network
from pathlib import Path

from fwd.flags import UsageError
from fwd.model import IPV4, IPV6, Address, FwdError
from fwd.ops import lockholder, status
from fwd.ops.commands.arguments import Parser, at_least
from fwd.ops.printable import printable
from fwd.ops.probe.echo import Echo, Outcome, Prober
from fwd.ops.probe.series import round_trips, series
from fwd.ops.status import LeaseStatus, Status


def main(argv: list[str]) -> int:
    """0 if every request was answered, 1 if one was not."""
    parser = Parser("fwd ping", "Echo requests through the overlay to a node's own address there.")
    parser.add_run_dir()
    add = parser.add_argument
    add(
        "-c", "--count", type=at_least(0), default=4, metavar="N", help="0: without end; default: 4"
    )
    add("-i", "--interval", type=at_least(0.01), default=1.0, metavar="S", help="default: 1")
    add("-s", "--size", type=at_least(0), default=0, metavar="N", help="bytes of the whole packet")
    add("-W", "--timeout", type=at_least(0.01), default=1.0, metavar="S", help="default: 1")
    family = parser.add_mutually_exclusive_group()
    family.add_argument("-4", dest="family", action="store_const", const=IPV4, help="IPv4")
    family.add_argument("-6", dest="family", action="store_const", const=IPV6, help="IPv6")
    add("node", metavar="NODE", help="by name, underlay address, or an address in the overlay")
    given = parser.parse_args(argv)
    document = status.decode(status.fetch(given.run_dir))
    name, address = find(document, given.node, family=given.family)
    _refuse_from_elsewhere(given.run_dir)
    print(f"{printable(name)} at {address}")
    return asyncio.run(
        _ping(
            address,
            count=int(given.count),
            interval=given.interval,
            size=int(given.size),
            limit=given.timeout,
        )
    )


def find(document: Status, asked: str, *, family: int | None) -> tuple[str, Address]:
    """A node's name and the address that it answers at.  Raises FwdError where there is none."""
    meant = [(lease, there) for lease in document.leases if (there := _meant(lease, asked))]
    for lease, there in meant:
        if family in {None, lease.family}:
            return lease.node, there
    if meant:
        raise FwdError(f"{asked} has no IPv{family} lease here")
    if any(asked == tunnel.public_ip for tunnel in document.tunnels) or asked == document.node:
        raise UsageError(f"{asked} is this node itself: name another one")
    raise FwdError(f"there is no node {asked!r} with a lease here: fwd status --peers lists them")


def _meant(lease: LeaseStatus, asked: str) -> Address | None:
    """The address of this lease's node that was asked for, if it was."""
    subnet = ip_network(lease.subnet)
    if asked in {lease.node, lease.public_ip}:
        return subnet.network_address
    with suppress(ValueError):
        address = ip_address(asked)
        if address.version == subnet.version and address in subnet:
            return address
    return None


def _refuse_from_elsewhere(run_dir: Path) -> None:
    """Raises FwdError where this node's tunnel is not: what is sent goes to a router instead."""
    pid = lockholder.holder_of(run_dir)
    if pid is not None and lockholder.is_elsewhere(pid):
        way = lockholder.way_to(pid).replace("COMMAND", "fwd ping")
        raise FwdError(f"the agent (pid {pid}) is in another network namespace: {way}")


async def _ping(address: Address, *, count: int, interval: float, size: int, limit: float) -> int:
    echoes: list[Echo] = []
    with suppress(asyncio.CancelledError, KeyboardInterrupt):
        async with Prober(address.version) as prober:
            async for echo in series(
                prober, address, count=count, interval=interval, timeout=limit, size=size
            ):
                echoes.append(echo)
                print(_line(len(echoes), echo), flush=True)
    found = round_trips(echoes)
    print(f"{found.sent} sent, {found.received} received, {found.loss:.0%} lost", end="")
    if found.mean is not None and found.shortest is not None and found.longest is not None:
        times = (found.shortest, found.mean, found.longest)
        print(", round trip " + "/".join(f"{one * 1000:.3f}" for one in times) + " ms", end="")
    print()
    return 0 if found.sent and found.received == found.sent else 1


def _line(number: int, echo: Echo) -> str:
    if echo.outcome is Outcome.REPLY and echo.seconds is not None:
        return f"{number}: {echo.size} bytes there and back in {echo.seconds * 1000:.3f} ms"
    return f"{number}: {echo.error}"
