# SPDX-License-Identifier: Apache-2.0
"""Rules as iptables' programs write and read them, and the way from what is there to what must be.

Pure text: running the programs is `node.rules.iptables`'s.  iptables-save, iptables -S and
iptables-restore share one form of a rule, so rules are compared as text (flannel spec 7.2).

Theory of operation.  Each part (masquerade, forward) is a chain of ours and one jump to it from a
built-in chain.  Our own chain is replaced as a whole if it differs at all: restore flushes a user's
chain that is named with a colon, and within one table everything takes effect together, so that
there is no moment with half of it.  In the built-in chain we touch only what is ours.  There the
jump is right if it is there exactly once, behind the rules that it was behind when it was last
seen: flannel appends it, others append theirs after it or insert them before, and agents that each
insisted on a place of their own would fight for ever.  One that has come before rules that it was
behind has been moved, and is appended again; how often, the caller limits.  What else in the
built-in chain has our comment is an earlier flannel's.
"""

import re
import shlex
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TypeAlias

from msgspec import Struct

from fwd.core.rules import (
    MASQUERADED,
    Dialect,
    Finding,
    Kind,
    Match,
    Rule,
    Verdict,
    Wanted,
    compare,
    wanted_forward,
    wanted_masquerade,
)

Chains: TypeAlias = Mapping[str, Sequence[str]]
"""Rules of a table's chains, without `-A CHAIN`.  A chain that is not there has no key."""


class Part(Struct, frozen=True):
    """A chain of ours, and the built-in chain that jumps to it."""

    table: str
    builtin: str
    chain: str
    comment: str

    @property
    def jump(self) -> str:
        """The rule in the built-in chain."""
        return f'-m comment --comment "{self.comment}" -j {self.chain}'


MASQUERADE = Part("nat", "POSTROUTING", "FLANNEL-POSTRTG", "flanneld masq")
FORWARD = Part("filter", "FORWARD", "FLANNEL-FWD", "flanneld forward")
PARTS = (FORWARD, MASQUERADE)
_PART_OF = {part.table: part for part in PARTS}


def wanted_rules(part: Part, wanted: Wanted, family: int, *, random_fully: bool) -> list[str]:
    """The rules of our chain; none: the part is not to be."""
    if part is FORWARD:
        rules = wanted_forward(wanted, family)
    else:
        rules = wanted_masquerade(wanted, family, Dialect.IPTABLES)
    random_fully = random_fully and wanted.random_fully
    return [render(rule, part, random_fully=random_fully) for rule in rules]


def render(rule: Rule, part: Part, *, random_fully: bool) -> str:
    """A rule as iptables-save has it."""
    words = []
    for option, match in (("-s", rule.source), ("-d", rule.destination)):
        if match is not None:
            words.append(_render_match(option, match))
    if rule.interfaces:
        words.append(f"-i {rule.interfaces}+")
    if rule.marked:
        words.append(f"-m mark --mark {MASQUERADED:#x}/{MASQUERADED:#x}")
    words.append(f'-m comment --comment "{part.comment}" -j {rule.verdict.name}')
    if rule.verdict is Verdict.MASQUERADE and random_fully:
        words.append("--random-fully")
    return " ".join(words)


def _render_match(option: str, match: Match) -> str:
    return f"{'! ' if match.negated else ''}{option} {match.network}"


class Reading:
    """Takes what iptables-save prints, or `iptables -S`, which names no table (""), line by line.

    Tables of others have tens of thousands of rules: what is not kept leaves only its table's name.
    """

    def __init__(self, keeps: Callable[[str, str, str], bool]) -> None:
        """`keeps` is asked by table, chain and rule, and for a chain's own line without a rule."""
        self.tables: dict[str, dict[str, list[str]]] = {}
        self._keeps = keeps
        self._table = ""

    def take(self, line: str) -> None:
        """The next one, without its end."""
        match line.split(" ", 2):
            case ["-A", name, *rest]:
                self._put(name, "".join(rest))
            case ["-P" | "-N", name, *_]:
                self._put(name)
            case [word, *_] if word.startswith(":"):
                self._put(word[1:])
            case [word] if word.startswith("*"):
                self._table = word[1:]

    def _put(self, chain: str, rule: str | None = None) -> None:
        chains = self.tables.setdefault(self._table, {})
        if self._keeps(self._table, chain, rule or ""):
            rules = chains.setdefault(chain, [])
            rules += [] if rule is None else [rule]


def parse(text: str) -> dict[str, dict[str, list[str]]]:
    """Chains by table, with all that is there."""
    reading = Reading(lambda *_: True)
    for line in text.splitlines():
        reading.take(line)
    return reading.tables


def concerns_us(table: str, chain: str, rule: str) -> bool:
    """Whether `plan` or `direct_rules` would look at it."""
    part = _PART_OF.get(table)
    return part is not None and (chain in (part.builtin, part.chain) or part.chain in rule)


def plan(
    part: Part,
    rules: Sequence[str],
    chains: Chains,
    *,
    direct: Container[str],
    where: str,
    behind: Container[str] = (),
) -> tuple[list[Finding], list[str]]:
    """What is wrong with a part, and the lines for its table that put it right in one commit.

    Without rules the part is not to be: then chains must be all that have a rule which concerns us,
    as any may jump to ours.  direct: rules of the built-in chain that v0.11 wrote (direct_rules).
    where: program and table, for the findings.  behind: the rules that the jump has to be behind
    (ahead_of_jump).
    """
    findings, lines = [], []
    for chain, kind, rule in _unwelcome(part, chains, wanted=bool(rules), direct=direct):
        findings.append(Finding(f"{where} {chain}", kind, rule))
        lines.append(f"-D {chain} {rule}".rstrip())
    held = chains.get(part.chain)
    if not rules:
        if held is not None:
            gone = held or ["the empty chain"]
            findings += [Finding(f"{where} {part.chain}", Kind.UNWANTED, rule) for rule in gone]
            lines += [f"-F {part.chain}", f"-X {part.chain}"]
        return findings, lines
    wrong = list(compare(rules, held or (), where=f"{where} {part.chain}"))
    if wrong:  # first, as it may be the line that makes the chain
        refill = [f":{part.chain} - [0:0]", *(f"-A {part.chain} {rule}" for rule in rules)]
        findings, lines = wrong + findings, refill + lines
    if part.jump not in chains.get(part.builtin, ()):
        findings.append(Finding(f"{where} {part.builtin}", Kind.MISSING, part.jump))
        lines.append(f"-A {part.builtin} {part.jump}")
    elif was_moved(part, chains, behind=behind):
        findings.append(Finding(f"{where} {part.builtin}", Kind.MISPLACED, part.jump))
        lines += [f"-D {part.builtin} {part.jump}", f"-A {part.builtin} {part.jump}"]
    return findings, lines


def ahead_of_jump(part: Part, chains: Chains) -> frozenset[str]:
    """Others' rules that come before our jump; none where there is no jump."""
    rules = list(chains.get(part.builtin, ()))
    return frozenset(rules[: rules.index(part.jump)] if part.jump in rules else ())


def was_moved(part: Part, chains: Chains, *, behind: Container[str]) -> bool:
    """Whether the one jump that is there has come before a rule that it has to be behind."""
    rules = list(chains.get(part.builtin, ()))
    if rules.count(part.jump) != 1:
        return False
    ahead = ahead_of_jump(part, chains)
    return any(rule in behind and rule not in ahead for rule in rules)


def _unwelcome(
    part: Part, chains: Chains, *, wanted: bool, direct: Container[str]
) -> Iterator[tuple[str, Kind, str]]:
    """Chain, kind and rule, of all in other chains than ours that has to go."""
    stale = Kind.STALE if wanted else Kind.UNWANTED
    met = False
    for rule in chains.get(part.builtin, ()):
        if rule == part.jump:
            if met or not wanted:
                yield part.builtin, Kind.DUPLICATE if wanted else Kind.UNWANTED, rule
            met = True
        elif rule in direct or _leads_to(part.chain, rule) or _has_comment(part.comment, rule):
            yield part.builtin, stale, rule
    if not wanted:
        for chain, rules in chains.items():
            if chain not in (part.builtin, part.chain):
                found = (rule for rule in rules if _leads_to(part.chain, rule))
                yield from ((chain, Kind.UNWANTED, rule) for rule in found)


def _leads_to(chain: str, rule: str) -> bool:
    return chain in rule and any(
        option in ("-j", "-g") and value == chain for option, value in pairwise(_words(rule))
    )


def _has_comment(comment: str, rule: str) -> bool:
    return comment in rule and ("--comment", comment) in pairwise(_words(rule))


def _words(rule: str) -> list[str]:
    try:
        return shlex.split(rule)
    except ValueError:  # quoted in a way that is not ours
        return rule.split()


def direct_rules(tables: Mapping[str, Chains]) -> dict[str, set[str]]:
    """Rules of v0.11 by table: without comments, and right in the built-in chains (spec 7.1).

    Only whole sets: they all name one network, which nobody writes by chance.  Two forward rules
    alone might be an operator's; they count where the same network's other four are.
    """
    nat = tables.get(MASQUERADE.table, {}).get(MASQUERADE.builtin, ())
    forward = set(tables.get(FORWARD.table, {}).get(FORWARD.builtin, ()))
    found: dict[str, set[str]] = {part.table: set() for part in PARTS}
    for rule in nat:
        first = re.fullmatch(r"-s (\S+) -d \1 -j RETURN", rule)
        if first is None:
            continue
        others = [_matching(form, nat, network=first[1]) for form in _DIRECT]
        if all(others):
            found[MASQUERADE.table].update([rule], *others)
            pair = {f"-s {first[1]} -j ACCEPT", f"-d {first[1]} -j ACCEPT"}
            if pair <= forward:
                found[FORWARD.table] |= pair
    return found


_DIRECT = (
    r"-s {network} ! -d (?:224\.0\.0\.0/4|ff00::/8) -j MASQUERADE(?: --random-fully)?",
    r"! -s {network} -d \S+ -j RETURN",
    r"! -s {network} -d {network} -j MASQUERADE(?: --random-fully)?",
)
"""The last three of four; the first tells the network."""


def _matching(form: str, rules: Sequence[str], *, network: str) -> list[str]:
    pattern = re.compile(form.format(network=re.escape(network)))
    return [rule for rule in rules if pattern.fullmatch(rule)]


def payload(lines: Mapping[str, Iterable[str]]) -> str:
    """What iptables-restore --noflush reads, of lines by table; one commit a table."""
    return "".join(
        "".join(f"{line}\n" for line in (f"*{table}", *within, "COMMIT"))
        for table, within in lines.items()
    )
