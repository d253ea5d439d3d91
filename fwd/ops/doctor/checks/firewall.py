# SPDX-License-Identifier: Apache-2.0
"""Rules of others that drop what the overlay lives by, in iptables of either kind and in nft.

The rules are read, and a first packet of each kind is walked through them (`core.firewall`).  What
a rule cannot be judged by is left aside: only what is certainly dropped is called so.
"""

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from operator import attrgetter

from msgspec import Struct

from fwd.core.firewall import iptables as iptables_text
from fwd.core.firewall.walk import Chain, Decision, Fate, decide, with_any_mark
from fwd.node.rules import backend
from fwd.node.rules.iptables import COMMANDS, Iptables
from fwd.node.rules.programs import RuleError, find, read_lines
from fwd.ops.doctor.checks import nfttables
from fwd.ops.doctor.checks.firstpackets import Kind, kinds
from fwd.ops.doctor.checks.nfttables import Answers, Table
from fwd.ops.doctor.finding import Finding, note, well, wrong
from fwd.ops.doctor.patient import Patient

_SUBJECT = "firewall"
_TABLES = ("raw", "mangle", "filter")
_MOST_LINES = 50_000
"""Of a table that iptables-save prints; as rules they take 60 MiB."""
_TOOLS = {
    "DOCKER": "Docker",
    "ufw-": "ufw",
    "FORWARD_direct": "firewalld",
    "firewalld": "firewalld",
}
"""Who is known by the beginning of a table's or a chain's name."""


class _Drop(Struct, frozen=True):
    """A rule, or a policy, that drops some kinds."""

    where: str
    text: str
    tool: str
    """Whose chains are in that table, where that is known."""


class _Passage(Struct, frozen=True):
    """What a chain of a hook does with a first packet."""

    number: int
    """Of its kind: kinds are told in their order, whichever table is first."""
    kind: Kind
    stage: int
    """Of its way, as far as this hook."""
    drop: _Drop | None
    by_mark: bool
    """What comes with a mark may pass."""
    marks: bool
    """It may have got one here."""


async def look(patient: Patient) -> AsyncIterator[Finding]:
    """One finding for each rule or policy that drops something."""
    if patient.conf is None:
        return
    found: list[_Passage] = []
    looked_at = too_large = 0
    answers = Answers()
    async for table in _tables(answers):
        if table.chains is None:
            too_large += 1
            yield note(_SUBJECT, f"{table.where} is too large to look at, and may drop the overlay")
        else:
            looked_at += 1
            found += _passages(table.where, table.chains, table.families, patient)
        del table  # before the next is read
    has_none = not looked_at and not too_large and answers.given and not answers.refused
    if not looked_at and not too_large and not has_none:
        yield note(_SUBJECT, "no rules can be read: no iptables, no nft, or no right to ask them")
    drops: dict[_Drop, list[Kind]] = {}
    for one in sorted(found, key=attrgetter("number")):
        if one.drop is not None and not (one.by_mark and _may_be_marked(one, found)):
            drops.setdefault(one.drop, []).append(one.kind)
    for drop, dropped in drops.items():
        names = " and ".join(dict.fromkeys(kind.name for kind in dropped))
        yield wrong(
            _SUBJECT,
            f"{drop.where} drops {names}: {drop.text}"
            + (f" ({drop.tool} is at work there)" if drop.tool else ""),
            "; and ".join(dict.fromkeys(kind.remedy for kind in dropped)),
            cause=next((kind.cause for kind in dropped if kind.cause), ""),
        )
    if (looked_at or has_none) and not drops:
        yield well(_SUBJECT, f"no rule drops the overlay (tables looked at: {looked_at})")


def _passages(
    where: str, chains: Mapping[str, Chain], families: Iterable[int], patient: Patient
) -> Iterator[_Passage]:
    """Those of which something comes: a drop, or a mark."""
    wanted = [(family, kind) for family in patient.families for kind in kinds(patient, family)]
    for number, (family, kind) in enumerate(wanted):
        for name, chain in chains.items():
            if family not in families or chain.hook not in kind.hooks:
                continue
            decision = decide(chains, name, kind.packet)
            is_dropped = decision.fate is Fate.DROPPED
            if is_dropped and _ours_will_accept(decision, chain, where, patient):
                is_dropped = False
            if not is_dropped and not decision.marks:
                continue
            drop = _Drop(f"{where} {name}", decision.text, _tool(where, chains))
            marked = decide(chains, name, with_any_mark(kind.packet))
            yield _Passage(
                number=number,
                kind=kind,
                stage=kind.hooks.index(chain.hook),
                drop=drop if is_dropped else None,
                by_mark=marked.fate is not Fate.DROPPED,
                marks=decision.marks,
            )


def _may_be_marked(passage: _Passage, found: Iterable[_Passage]) -> bool:
    """By another chain, in the same hook at the latest: which comes first there is not known."""
    return any(
        one.marks
        and one is not passage
        and one.number == passage.number
        and one.stage <= passage.stage
        for one in found
    )


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


async def _tables(answers: Answers) -> AsyncIterator[Table]:
    engines = await backend.installed()
    for engine in engines:
        for family in engine.programs:
            async for table in _of_iptables(engine, family, answers):
                yield table
                del table
    program = find("nft")
    if program is None:
        return
    has_nft = any(engine.back_end == "nft" for engine in engines)
    async for table in nfttables.tables(program, besides_iptables=has_nft, answers=answers):
        yield table
        del table


async def _of_iptables(engine: Iptables, family: int, answers: Answers) -> AsyncIterator[Table]:
    save = _Save()
    done = await read_lines([engine.programs[family].save], save.take)
    try:
        done.checked()
    except RuleError as error:  # a kernel without this back end has no rules in it, either
        answers.count(error)
        return
    answers.count(None)
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
