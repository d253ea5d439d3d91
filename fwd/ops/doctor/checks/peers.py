# SPDX-License-Identifier: Apache-2.0
"""Every other node, asked through the tunnel at its address in its subnet.

The kernel of any peer answers there, whatever data plane it has.  Who does not answer is asked in
other ways (`ops.doctor.silence`), which tell why.
"""

import asyncio
from collections.abc import AsyncIterator

from msgspec import Struct

from fwd.model import Address, Lease
from fwd.node import netlink
from fwd.ops.doctor import silence
from fwd.ops.doctor.checks.path import narrow_remedy, overhead
from fwd.ops.doctor.finding import Finding, note, well, wrong
from fwd.ops.doctor.patient import Patient
from fwd.ops.probe.echo import Echo, Outcome, Prober
from fwd.ops.probe.series import RoundTrips, largest, round_trips, series

_AT_ONCE = 32
_SECONDS = 1.0
_FIRST = 2
"""Together; who does not answer is not waited for any more."""
_COUNT, _MORE = 5, 20
_INTERVAL = 0.02
_MOST_LOSS = 0.05
_DIAGNOSED = 16
"""Silent nodes that are asked why; each takes some seconds."""


class _Met(Struct, frozen=True):
    """How one peer answered."""

    lease: Lease
    trips: RoundTrips
    largest: int
    mtu: int
    """Of the tunnel's device, as it is."""
    route: str
    """The device by which the kernel sends there, if it is not the tunnel's."""


async def look(patient: Patient) -> AsyncIterator[Finding]:
    """By family, all peers; then the silent ones, one after the other."""
    agent = patient.agent
    if agent is None:
        yield note("peers", "no agent forwards here, so there is no tunnel to ask through")
        return
    for family in patient.families:
        leases = patient.leases_of(family)
        if not leases:
            yield well("peers", f"there are no other nodes{_suffix(patient, family)}")
            continue
        async with Prober(family) as prober:
            met = await _meet(patient, prober, leases)
            for one in met:
                if one.trips.received:
                    yield _answers(patient, one)
            silent = [one for one in met if not one.trips.received]
            for number, one in enumerate(silent):
                if one.route:
                    yield _lost_on_route(patient, one)
                elif number < _DIAGNOSED:
                    yield await silence.explain(patient, prober, one.lease, one.trips.said)
                else:
                    yield wrong(
                        f"peer {one.lease.node}",
                        f"no answer from {one.lease.subnet.network_address}: {one.trips.said}",
                        "look at the first ones that do not answer",
                    )


async def _meet(patient: Patient, prober: Prober, leases: tuple[Lease, ...]) -> list[_Met]:
    gate = asyncio.Semaphore(_AT_ONCE)

    async def meet(lease: Lease) -> _Met:
        async with gate:
            return await _meet_one(patient, prober, lease)

    return await asyncio.gather(*(meet(lease) for lease in leases))


async def _meet_one(patient: Patient, prober: Prober, lease: Lease) -> _Met:
    address = lease.subnet.network_address
    echoes = await asyncio.gather(*(prober.echo(address, timeout=_SECONDS) for _ in range(_FIRST)))
    if any(one.outcome is Outcome.REPLY for one in echoes):
        echoes = await _echoes(prober, address, _COUNT)
    passed = [one for one in echoes if one.outcome is Outcome.REPLY]
    route = await asyncio.to_thread(_route, patient, lease)
    mtu = await asyncio.to_thread(_mtu, patient, lease.family)
    if not passed:
        return _Met(lease, round_trips(echoes), 0, mtu, route)
    if len(passed) < len(echoes):  # chance, or more than that
        echoes += await _echoes(prober, address, _MORE)
    found = await largest(prober, address, passes=passed[0].size, most=mtu, timeout=_SECONDS)
    return _Met(lease, round_trips(echoes), found, mtu, route)


async def _echoes(prober: Prober, address: Address, count: int) -> list[Echo]:
    found = series(prober, address, count=count, interval=_INTERVAL, timeout=_SECONDS)
    return [echo async for echo in found]


def _mtu(patient: Patient, family: int) -> int:
    device = netlink.find_device(patient.device(family))
    return device.mtu if device is not None else 0


def _route(patient: Patient, lease: Lease) -> str:
    """The device to a peer's subnet where it is another than the tunnel's."""
    try:
        index, _ = netlink.route_to(lease.subnet.network_address)
    except OSError:
        return ""
    device = netlink.find_device(index)
    if device is None or device.name == patient.device(lease.family):
        return ""
    return device.name


def _answers(patient: Patient, met: _Met) -> Finding:
    lease, trips = met.lease, met.trips
    subject = f"peer {lease.node}"
    where = f"{lease.subnet.network_address}"
    assert patient.conf is not None
    if met.route and not patient.conf.backend.direct_routing:
        return _others_route(patient, met)
    if trips.loss > _MOST_LOSS:
        return wrong(
            subject,
            f"{where}: {trips.sent - trips.received} of {trips.sent} echoes were lost",
            "look at the drops of both nodes (fwd drops) and of the links between them",
        )
    if met.largest < met.mtu and not met.route:
        return wrong(
            subject,
            f"{where} answers, but small packets only: up to {met.largest} bytes of {met.mtu}",
            narrow_remedy(met.largest + overhead(lease.family), lease.family),
            cause="mtu",
            is_symptom=True,
        )
    assert trips.mean is not None
    assert trips.longest is not None
    way = f", by {met.route}, without the tunnel" if met.route else ""
    return well(
        subject,
        f"{where}: {_ms(trips.mean)} (longest {_ms(trips.longest)}), no loss, "
        f"{met.largest} bytes pass{way}",
    )


def _others_route(patient: Patient, met: _Met) -> Finding:
    lease = met.lease
    where = lease.subnet.network_address
    return wrong(
        f"peer {lease.node}",
        f"{where} is routed by {met.route}, not by {patient.device(lease.family)}",
        f"find who made that route (ip route get {where}), and remove it",
    )


def _lost_on_route(patient: Patient, met: _Met) -> Finding:
    """The tunnel has no part in what goes to this peer."""
    assert patient.conf is not None
    if not patient.conf.backend.direct_routing:
        return _others_route(patient, met)
    lease = met.lease
    return wrong(
        f"peer {lease.node}",
        f"no answer from {lease.subnet.network_address}: {met.trips.said}; packets go by "
        f"{met.route}, without the tunnel (DirectRouting)",
        "let the network between the nodes carry Pods' addresses (in a cloud: no check of source "
        "and destination), or turn DirectRouting off",
    )


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.2f} ms"


def _suffix(patient: Patient, family: int) -> str:
    return f" of IPv{family}" if len(patient.families) > 1 else ""
