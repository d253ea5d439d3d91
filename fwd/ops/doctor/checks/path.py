# SPDX-License-Identifier: Apache-2.0
"""The way to other nodes, outside the tunnel: whether it takes as large packets as the link."""

import asyncio
from collections.abc import AsyncIterator

from msgspec import Struct

from fwd.core.netconf import FLANNEL_OVERHEAD, IPV6_OVERHEAD
from fwd.model import IPV4, FwdError, Lease
from fwd.node.underlay import Underlay
from fwd.ops.doctor.finding import Finding, note, well, wrong
from fwd.ops.doctor.patient import Patient
from fwd.ops.probe.echo import Outcome, Prober
from fwd.ops.probe.series import largest

SAMPLE = 8
"""Nodes that are asked, of many."""
SECONDS = 0.7
"""For one answer."""
_ATTEMPTS = 3


class Way(Struct, frozen=True):
    """What the way to one node takes."""

    lease: Lease
    answers: bool
    mtu: int = 0
    """The largest packet that came back."""


async def look(patient: Patient) -> AsyncIterator[Finding]:
    """Pings some nodes at their public addresses, unfragmented."""
    for family in patient.families:
        underlay, leases = patient.underlays.get(family), patient.leases_of(family)
        if underlay is None:
            continue
        if not leases:
            yield note("MTU of the path", "no other node is known yet: not tried")
            continue
        try:
            ways = await ways_to(leases[:SAMPLE], underlay, budget=_budget(patient, underlay))
        except FwdError as error:
            yield note("MTU of the path", f"not tried: {error}")
            continue
        yield _judge(patient, underlay, ways)


def _budget(patient: Patient, underlay: Underlay) -> int:
    """The largest outer packet."""
    assert patient.conf is not None
    return min(patient.conf.backend.mtu or underlay.mtu, underlay.mtu)


async def ways_to(leases: tuple[Lease, ...], underlay: Underlay, *, budget: int) -> list[Way]:
    """Asks all of them together.  Raises FwdError if that is not allowed."""
    family, index = leases[0].family, underlay.index
    async with Prober(family, source=underlay.address, scope=index) as prober:
        return await asyncio.gather(*(_way(prober, lease, budget) for lease in leases))


async def _way(prober: Prober, lease: Lease, budget: int) -> Way:
    first = await asyncio.gather(
        *(prober.echo(lease.public_ip, timeout=SECONDS) for _ in range(_ATTEMPTS))
    )
    passed = [one for one in first if one.outcome is Outcome.REPLY]
    if not passed:
        return Way(lease, answers=False)
    found = await largest(
        prober, lease.public_ip, passes=passed[0].size, most=budget, timeout=SECONDS
    )
    return Way(lease, answers=True, mtu=found)


def _judge(patient: Patient, underlay: Underlay, ways: list[Way]) -> Finding:
    subject = "MTU of the path"
    budget = _budget(patient, underlay)
    answering = [way for way in ways if way.answers]
    if not answering:
        return note(
            subject,
            f"none of {len(ways)} nodes answers ping outside the tunnel: not known",
            "fwd doctor --peers asks through the tunnel",
        )
    narrow = min(answering, key=lambda way: way.mtu)
    if narrow.mtu < budget:
        return wrong(
            subject,
            f"to {narrow.lease.node} ({narrow.lease.public_ip}) only packets of up to "
            f"{narrow.mtu} bytes pass, of {budget}",
            narrow_remedy(narrow.mtu, underlay.address.version),
            cause="mtu",
        )
    return well(subject, f"packets of {budget} bytes pass to {len(answering)} of {len(ways)} nodes")


def narrow_remedy(mtu: int, family: int) -> str:
    """What to do where the path takes outer packets of `mtu` bytes only.

    flannel takes off the overhead of IPv4 for both families, so that IPv6 needs 20 bytes less.
    """
    pods = mtu - overhead(family)
    return (
        f'"MTU": {pods + FLANNEL_OVERHEAD} in Backend of net-conf.json on all nodes (Pods then get '
        f"{pods}), or raise the MTU of what lies between"
    )


def overhead(family: int) -> int:
    """Bytes around an inner packet."""
    return FLANNEL_OVERHEAD if family == IPV4 else IPV6_OVERHEAD
