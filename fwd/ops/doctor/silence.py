# SPDX-License-Identifier: Apache-2.0
"""Why a peer does not answer through the tunnel, as far as one side can find out.

Theory of operation.  The request may have been lost on the way there, the answer on the way back,
or here.  What is dropped here, the agent tells packet by packet: a reason that it gives for those
between this node and the peer is this peer's, whatever else is dropped meanwhile.  Only where it
has told of as many as it ever does there may be more, and this peer's among them: that is said.

What is dropped there cannot be seen; but a frame for the broadcast MAC is taken by every VTEP,
flannel's and ours (flannel spec 5.6).  So a peer that answers to that frame only has another MAC
than its lease says.  That frame is sent by a socket that hears of ICMP errors, which the agent's
sockets do not.
"""

import asyncio
import errno
import os
import socket
import struct
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from ipaddress import ip_address

from msgspec import Struct

from fwd.core.text import format_mac, parse_mac
from fwd.model import IPV4, Lease, Network
from fwd.ops.doctor import running
from fwd.ops.doctor.checks.path import ways_to
from fwd.ops.doctor.finding import Finding, wrong
from fwd.ops.doctor.patient import Patient
from fwd.ops.drops import DropLine
from fwd.ops.probe.echo import Carrier, Echo, Outcome, Prober
from fwd.ops.probe.endpoint import endpoint

_ASKED = 4
_ENOUGH = 3
"""Of as many drops as were asked for: one may be lost elsewhere."""
_SECONDS = 0.4
_MOST_TOLD = 10
"""Drops of a reason that the data plane tells of in a second (cext/trace.h), by each worker."""
_TICK = 0.01
"""By which the data plane's clock may be behind (CLOCK_MONOTONIC_COARSE)."""
_MIN_OUTER = 576

_BROADCAST = b"\xff" * 6
_VXLAN_I = 0x08
_ETHERTYPES = {4: 0x0800, 6: 0x86DD}


class _Reason(Struct, frozen=True):
    """What drops of one reason mean; {node}, {ip} and {mac} are filled in."""

    found: str
    remedy: str


_REASONS: Mapping[str, _Reason] = {
    "in_wrong_mac": _Reason(
        "wrong MAC: it answers to another MAC than this node's, {mac}",
        "restart the agent of {node}, so that it reads this node's lease anew; see backend-data of "
        "this Node",
    ),
    "in_unknown_peer": _Reason(
        "rejected by the source check: its packets come from an address that is no node's",
        "make public-ip of {node}, {ip}, the address that it sends from (NAT, or a second "
        "interface: --iface or --public-ip there), or run with --source-check=off",
    ),
    "in_spoofed_source": _Reason(
        "rejected by the source check: inner source and outer source are not of one node",
        "make public-ip of {node}, {ip}, the address that it sends from, or run with "
        "--source-check=loose",
    ),
    "in_other_vni": _Reason(
        "it sends with another VNI", "give {node} the same net-conf.json as this node"
    ),
    "out_unreachable": _Reason(
        "the underlay has no way to {ip}", "see ip route get {ip}, and the link"
    ),
    "out_send_error": _Reason("the underlay refuses to send to {ip}", "see fwd drops"),
    "out_no_route": _Reason("no node owns its address", "see fwd status: is its lease in force?"),
}


class _Asked(Struct, frozen=True):
    """What came of some requests to a peer."""

    echoes: Sequence[Echo]
    dropped: set[str]
    """Reasons why they, or their answers, are dropped here."""
    crowded: set[str]
    """Reasons of so many drops that those of this peer may not have been told."""


async def explain(patient: Patient, prober: Prober, lease: Lease, said: str) -> Finding:
    """One finding for a peer that does not answer; `said` is what came instead, if anything."""
    subject = f"peer {lease.node}"
    address = lease.subnet.network_address
    before = await _accepted(patient, lease)
    asked = await _ask(patient, prober, lease)
    for name, reason in _REASONS.items():
        if name in asked.dropped:
            mac = _own_mac(patient, lease.family)
            fill = {"node": lease.node, "ip": lease.public_ip, "mac": mac}
            return wrong(subject, reason.found.format(**fill), reason.remedy.format(**fill))
    if asked.dropped:
        reasons = ", ".join(sorted(asked.dropped))
        return wrong(subject, f"its packets are dropped here: {reasons}", "see fwd drops")
    answers = sum(one.outcome is Outcome.REPLY for one in asked.echoes)
    if answers:
        return wrong(
            subject,
            f"{address}: the first requests were lost, {answers} of {_ASKED} later ones not",
            "ask again; if it comes back, look at the drops of both nodes (fwd drops) and of the "
            "links between them",
        )
    heard = await _ask_by_broadcast(patient, prober, lease)
    if heard is None:
        return wrong(
            subject,
            f"wrong MAC: it answers to broadcast, and not to {format_mac(lease.vtep_mac)}, which "
            "its lease says",
            f"have the agent of {lease.node} write its lease anew (restart it), or correct "
            "VtepMAC in its backend-data",
        )
    accepted = await _accepted(patient, lease) - before
    arrives = "; but what it sends arrives here" if accepted > 0 else ""
    found = f"no answer from {address}: {heard.found or said}{arrives}"
    remedy = heard.remedy.format(node=lease.node, ip=lease.public_ip)
    if asked.crowded:
        reasons = ", ".join(sorted(asked.crowded))
        found += f"; uncertain: its packets may be among the many that are dropped here: {reasons}"
        remedy = f"mend those drops first (fwd drops) and ask again; then {remedy}"
    return wrong(subject, found, remedy, cause="way", is_symptom=True)


async def _accepted(patient: Patient, lease: Lease) -> int:
    """Packets of the peer that this node has taken."""
    agent = await asyncio.to_thread(running.find, patient.config.run_dir)
    found = () if agent is None else agent.status.leases
    return sum(
        one.in_packets for one in found if (one.node, one.subnet) == (lease.node, str(lease.subnet))
    )


async def _ask(patient: Patient, prober: Prober, lease: Lease) -> _Asked:
    begun = await _next_second()
    echoes = await asyncio.gather(
        *(prober.echo(lease.subnet.network_address, timeout=_SECONDS) for _ in range(_ASKED))
    )
    drops = await asyncio.to_thread(running.drops_since, patient.config.run_dir, begun)
    own = patient.subnets[lease.family]
    told = Counter(drop.reason for drop in drops)
    its = Counter(drop.reason for drop in drops if _is_of(drop, lease, own))
    dropped = {reason for reason, count in its.items() if count >= _ENOUGH}
    crowded = {reason for reason, count in told.items() if count >= _MOST_TOLD}
    return _Asked(echoes, dropped, crowded)


async def _next_second() -> int:
    """Waits for it, as later on those of others may have been all that are told in it.

    When it began, in nanoseconds since 1970.
    """
    await asyncio.sleep(1 - time.monotonic() % 1 + _TICK)
    return time.time_ns() - int(time.monotonic() % 1 * 1e9)


def _is_of(drop: DropLine, lease: Lease, own: Network) -> bool:
    """Whether it was between the address that asks and the peer, which either header may name.

    Another overlay of the peer's node, of another VNI, say, has its public address too.
    """
    here, there = (drop.dst, drop.src) if drop.direction == "in" else (drop.src, drop.dst)
    if here != str(own.network_address):
        return False
    return drop.outer == str(lease.public_ip) or ip_address(there) in lease.subnet


async def _ask_by_broadcast(patient: Patient, prober: Prober, lease: Lease) -> _Reason | None:
    """None: it answers to the broadcast MAC; else what else can be said."""
    assert patient.conf is not None
    backend = patient.conf.backend
    underlay = patient.underlays.get(lease.family)
    own = patient.subnets.get(lease.family)
    if underlay is None or own is None:
        return _Reason("", "see that the agent of {node} runs")
    kind = socket.AF_INET if lease.family == IPV4 else socket.AF_INET6
    with socket.socket(kind, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as out:
        out.bind(endpoint(underlay.address, 0, scope=underlay.index))
        out.connect(endpoint(lease.public_ip, backend.port, scope=underlay.index))
        mac = parse_mac(_own_mac(patient, lease.family))
        head = _frame_head(lease.family, vni=backend.vni, source=mac)
        carrier = Carrier(own.network_address, lambda packet: out.send(head + packet))
        code = 0
        for _ in range(_ASKED):  # errors are rate limited, and what was asked before has cost some
            echo = await prober.echo(lease.subnet.network_address, timeout=_SECONDS, via=carrier)
            if echo.outcome is Outcome.REPLY:
                return None
            code = echo.code or out.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                break
    port = backend.port
    if code == errno.ECONNREFUSED:
        return _Reason(
            f"nothing receives at {lease.public_ip} UDP port {port}",
            "start the agent of {node}; see fwd doctor there",
        )
    if code:
        return _Reason(
            f"{os.strerror(code).lower()}, was said of {lease.public_ip} UDP port {port}",
            f"let UDP {port} pass to {{ip}}",
        )
    way = (await ways_to((lease,), underlay, budget=_MIN_OUTER))[0]
    if way.answers:
        return _Reason(
            f"its node answers ping at {lease.public_ip}, but UDP {port} does not get there or "
            "back",
            f"let UDP {port} pass in both directions: firewalls on {{node}} (fwd doctor there) and "
            "between; security groups of a cloud",
        )
    return _Reason(
        f"its node does not answer at {lease.public_ip} either",
        "see that {node} is up, and that {ip} is its address",
    )


def _frame_head(family: int, *, vni: int, source: bytes) -> bytes:
    """VXLAN (RFC 7348, 5) and Ethernet before an IP packet."""
    vxlan = struct.pack(">B3xI", _VXLAN_I, vni << 8)
    return vxlan + _BROADCAST + source + struct.pack(">H", _ETHERTYPES[family])


def _own_mac(patient: Patient, family: int) -> str:
    assert patient.agent is not None
    return patient.agent.tunnels[family].mac
