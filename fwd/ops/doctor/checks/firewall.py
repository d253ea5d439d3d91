# SPDX-License-Identifier: Apache-2.0
"""Rules of others that drop what the overlay lives by, in iptables of either kind and in nft.

The rules are read, and a first packet of each kind is walked through them (`core.firewall`).  What
a rule cannot be judged by is left aside: only what is certainly dropped is called so.
"""

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from ipaddress import ip_address
from operator import itemgetter

from msgspec import Struct

from fwd.core.firewall import iptables as iptables_text
from fwd.core.firewall.walk import Chain, Decision, Fate, Packet, decide
from fwd.core.rules import TAPS
from fwd.model import IPV4, IPV6, Address, Network
from fwd.node.rules import backend
from fwd.node.rules.iptables import COMMANDS, Iptables
from fwd.node.rules.programs import find, read_lines
from fwd.ops.doctor.checks import nfttables
from fwd.ops.doctor.checks.nfttables import Table
from fwd.ops.doctor.finding import Finding, note, well, wrong
from fwd.ops.doctor.patient import Patient
from fwd.plane import Offload, tap_of

_SUBJECT = "firewall"
_TABLES = ("raw", "mangle", "filter")
_MOST_LINES = 50_000
"""Of a table that iptables-save prints; as rules they take 60 MiB."""
_DOCUMENTATION = {IPV4: ip_address("192.0.2.1"), IPV6: ip_address("2001:db8::1")}
"""Of a peer, where none is known (RFC 5737, RFC 3849)."""
_SOURCE_PORT = 50000
BRIDGE = "cni0"
_TOOLS = {
    "DOCKER": "Docker",
    "ufw-": "ufw",
    "FORWARD_direct": "firewalld",
    "firewalld": "firewalld",
}
"""Who is known by the beginning of a table's or a chain's name."""


class _Kind(Struct, frozen=True):
    """A packet of the overlay, and the hooks on its way."""

    name: str
    packet: Packet
    hooks: tuple[str, ...]
    remedy: str
    cause: str = ""
    """What its loss explains (Finding.cause)."""


class _Drop(Struct, frozen=True):
    """A rule, or a policy, that drops some kinds."""

    where: str
    text: str
    tool: str
    """Whose chains are in that table, where that is known."""


async def look(patient: Patient) -> AsyncIterator[Finding]:
    """One finding for each rule or policy that drops something."""
    if patient.conf is None:
        return
    found: list[tuple[int, _Drop, _Kind]] = []
    looked_at = too_large = 0
    async for table in _tables():
        if table.chains is None:
            too_large += 1
            yield note(_SUBJECT, f"{table.where} is too large to look at, and may drop the overlay")
        else:
            looked_at += 1
            found += _dropped(table.where, table.chains, table.families, patient)
        del table  # before the next is read
    if not looked_at and not too_large:
        yield note(_SUBJECT, "no rules can be read: no iptables, no nft, or no right to ask them")
    drops: dict[_Drop, list[_Kind]] = {}
    for _, drop, kind in sorted(found, key=itemgetter(0)):
        drops.setdefault(drop, []).append(kind)
    for drop, kinds in drops.items():
        names = " and ".join(dict.fromkeys(kind.name for kind in kinds))
        yield wrong(
            _SUBJECT,
            f"{drop.where} drops {names}: {drop.text}"
            + (f" ({drop.tool} is at work there)" if drop.tool else ""),
            "; and ".join(dict.fromkeys(kind.remedy for kind in kinds)),
            cause=next((kind.cause for kind in kinds if kind.cause), ""),
        )
    if looked_at and not drops:
        yield well(_SUBJECT, f"no rule drops the overlay (tables looked at: {looked_at})")


def _dropped(
    where: str, chains: Mapping[str, Chain], families: Iterable[int], patient: Patient
) -> Iterator[tuple[int, _Drop, _Kind]]:
    """With a number for each kind: kinds are told in their order, whichever table is first."""
    kinds = [(family, kind) for family in patient.families for kind in _kinds(patient, family)]
    for number, (family, kind) in enumerate(kinds):
        if family in families:
            for drop in _drops(kind, where, chains, patient):
                yield number, drop, kind


def _drops(
    kind: _Kind, where: str, chains: Mapping[str, Chain], patient: Patient
) -> Iterator[_Drop]:
    for name, chain in chains.items():
        if chain.hook not in kind.hooks:
            continue
        decision = decide(chains, name, kind.packet)
        if decision.fate is not Fate.DROPPED:
            continue
        if _ours_will_accept(decision, chain, where, patient):
            continue
        yield _Drop(f"{where} {name}", decision.text, _tool(where, chains))


def _tool(where: str, chains: Iterable[str]) -> str:
    table = where.rpartition(" ")[2]
    for begin, tool in _TOOLS.items():
        if any(name.startswith(begin) for name in (table, *chains)):
            return tool
    return ""


def _ours_will_accept(decision: Decision, chain: Chain, where: str, patient: Patient) -> bool:
    """Forward rules are put at the end of FORWARD, so before its policy, when an agent starts."""
    return (
        patient.agent is None
        and patient.config.iptables_forward_rules
        and chain.hook == "forward"
        and decision.text.startswith("policy ")
        and where.endswith(f"{patient.back_end} filter")
    )


async def _tables() -> AsyncIterator[Table]:
    engines = await backend.installed()
    for engine in engines:
        for family in engine.programs:
            async for table in _of_iptables(engine, family):
                yield table
                del table
    program = find("nft")
    if program is None:
        return
    has_nft = any(engine.back_end == "nft" for engine in engines)
    async for table in nfttables.tables(program, besides_iptables=has_nft):
        yield table
        del table


async def _of_iptables(engine: Iptables, family: int) -> AsyncIterator[Table]:
    save = _Save()
    done = await read_lines([engine.programs[family].save], save.take)
    if done.code:  # a kernel without this back end has no rules in it, either
        return
    command = f"{COMMANDS[family]}-{engine.back_end}"
    for name, lines in save.tables.items():
        if lines is None:
            yield Table(f"{command} {name}", None, (family,))
        else:
            for table, chains in iptables_text.parse("\n".join(lines)).items():
                yield Table(f"{command} {table}", chains, (family,))


class _Save:
    """Lines of those of _TABLES: of nat there may be 100,000, of kube-proxy."""

    def __init__(self) -> None:
        self.tables: dict[str, list[str] | None] = {}
        """None: more than _MOST_LINES."""
        self._table = ""

    def take(self, line: str) -> None:
        if line.startswith("*"):
            self._table = line[1:]
            if self._table in _TABLES:
                self.tables[self._table] = []
        kept = self.tables.get(self._table)
        if kept is None:
            return
        kept.append(line)
        if len(kept) > _MOST_LINES:
            self.tables[self._table] = None


def _kinds(patient: Patient, family: int) -> Iterator[_Kind]:
    """First packets, of the tunnel and of Pods, in and out."""
    program = "iptables" if family == IPV4 else "ip6tables"
    yield from _of_tunnel(patient, family, program)
    yield from _of_pods(patient, family, program)


def _of_tunnel(patient: Patient, family: int, program: str) -> Iterator[_Kind]:
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
    yield _Kind(
        f"UDP {port} from peers",
        _udp(there, here, port, in_device=uplink),
        ("prerouting", "input"),
        opened,
        cause="way",
    )
    yield _Kind(
        f"UDP {port} to peers",
        _udp(here, there, port, out_device=uplink),
        ("output", "postrouting"),
        opened.replace("in from", "out to").replace("INPUT", "OUTPUT"),
        cause="way",
    )
    if Offload.TUNNEL_GSO in patient.offloads and not here.is_link_local:
        tap = tap_of(patient.device(family))
        yield _Kind(
            f"the bulk that comes out of {tap} (--tunnel-gso)",
            _udp(here, there, port, in_device=tap, out_device=uplink),
            ("prerouting", "forward", "postrouting"),
            f"accept it before that ({program} -I FORWARD -i {TAPS[family]}+ -j ACCEPT, or in the "
            "tool that made it), or do without --tunnel-gso",
        )


def _of_pods(patient: Patient, family: int, program: str) -> Iterator[_Kind]:
    assert patient.conf is not None
    device, network = patient.device(family), patient.conf.networks[family]
    own, other = patient.some_subnets(family)
    accept = (
        f"accept what is to and from {network} before it ({program} -I FORWARD -s {network} -j "
        f"ACCEPT, and -d), in the tool that made it"
    )
    if patient.conf.enable_nftables:
        accept += "; or EnableNFTables false, so that fwd's rules are in the same table"
    yield _Kind(
        "Pods' packets from the tunnel",
        _inner(other, own, in_device=device, out_device=BRIDGE),
        ("prerouting", "forward", "postrouting"),
        accept,
    )
    yield _Kind(
        "Pods' packets into the tunnel",
        _inner(own, other, in_device=BRIDGE, out_device=device),
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
