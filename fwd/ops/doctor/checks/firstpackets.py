# SPDX-License-Identifier: Apache-2.0
"""First packets of all kinds that the overlay lives by: the tunnel's and Pods', in and out."""

from collections.abc import Iterator
from ipaddress import ip_address

from msgspec import Struct

from fwd.core.firewall.walk import Packet
from fwd.core.rules import TAPS
from fwd.model import IPV4, IPV6, Address, Network
from fwd.ops.doctor.patient import Patient
from fwd.plane import Offload, tap_of

_DOCUMENTATION = {IPV4: ip_address("192.0.2.1"), IPV6: ip_address("2001:db8::1")}
"""Of a peer, where none is known (RFC 5737, RFC 3849)."""
_SOURCE_PORT = 50000
_BRIDGE = "cni0"


class Kind(Struct, frozen=True):
    """A packet of the overlay, and the hooks on its way."""

    name: str
    packet: Packet
    hooks: tuple[str, ...]
    """In their order."""
    remedy: str
    cause: str = ""
    """What its loss explains (Finding.cause)."""


def kinds(patient: Patient, family: int) -> Iterator[Kind]:
    """Of one family."""
    program = "iptables" if family == IPV4 else "ip6tables"
    yield from _of_tunnel(patient, family, program)
    yield from _of_pods(patient, family, program)


def _of_tunnel(patient: Patient, family: int, program: str) -> Iterator[Kind]:
    assert patient.conf is not None
    port = patient.conf.backend.port
    underlay = patient.underlays.get(family)
    here = underlay.address if underlay else _DOCUMENTATION[family] + 1
    uplink = underlay.name if underlay else ""
    leases = patient.leases_of(family)
    there = leases[0].public_ip if leases else _DOCUMENTATION[family]
    opened = (
        f"let UDP {port} in from the nodes ({program} -I INPUT -p udp --dport {port} -j ACCEPT, or "
        "in the tool that made the rule)"
    )
    yield Kind(
        f"UDP {port} from peers",
        _udp(there, here, port, in_device=uplink),
        ("prerouting", "input"),
        opened,
        cause="way",
    )
    yield Kind(
        f"UDP {port} to peers",
        _udp(here, there, port, out_device=uplink),
        ("output", "postrouting"),
        opened.replace("in from", "out to").replace("INPUT", "OUTPUT"),
        cause="way",
    )
    if Offload.TUNNEL_GSO in patient.offloads and not here.is_link_local:
        tap = tap_of(patient.device(family))
        yield Kind(
            f"the bulk that comes out of {tap} (--tunnel-gso)",
            _udp(here, there, port, in_device=tap, out_device=uplink),
            ("prerouting", "forward", "postrouting"),
            f"accept it before that ({program} -I FORWARD -i {TAPS[family]}+ -j ACCEPT, or in the "
            "tool that made it), or do without --tunnel-gso",
        )


def _of_pods(patient: Patient, family: int, program: str) -> Iterator[Kind]:
    assert patient.conf is not None
    device, network = patient.device(family), patient.conf.networks[family]
    own, other = patient.some_subnets(family)
    accept = (
        f"accept what is to and from {network} before it ({program} -I FORWARD -s {network} -j "
        f"ACCEPT, and -d), in the tool that made it"
    )
    if patient.conf.enable_nftables:
        accept += "; or EnableNFTables false, so that fwd's rules are in the same table"
    yield Kind(
        "Pods' packets from the tunnel",
        _inner(other, own, in_device=device, out_device=_BRIDGE),
        ("prerouting", "forward", "postrouting"),
        accept,
    )
    yield Kind(
        "Pods' packets into the tunnel",
        _inner(own, other, in_device=_BRIDGE, out_device=device),
        ("prerouting", "forward", "postrouting"),
        accept,
    )


def _udp(
    source: Address, destination: Address, port: int, *, in_device: str = "", out_device: str = ""
) -> Packet:
    return Packet(
        source=source,
        destination=destination,
        protocol="udp",
        source_port=_SOURCE_PORT,
        destination_port=port,
        in_device=in_device,
        out_device=out_device,
    )


def _inner(source: Network, destination: Network, *, in_device: str, out_device: str) -> Packet:
    return Packet(
        source=source.network_address + 2,
        destination=destination.network_address + 2,
        protocol="tcp",
        source_port=_SOURCE_PORT,
        destination_port=80,
        in_device=in_device,
        out_device=out_device,
    )
