# SPDX-License-Identifier: Apache-2.0
"""Rules as nft writes and reads them, and the way from what is there to what must be.

Pure text: running nft is `node.rules.nftables`'s.  The tables are ours alone (flannel spec 7.3), so
a table that differs at all from the wanted one is made anew as a whole: nft's one transaction holds
its end and its beginning, and every packet meets the old rules or the new ones.  The order of a
table's chains says nothing, and old kernels forget comments, so neither is compared.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from msgspec import Struct

from fwd.core.rules import (
    FAMILIES,
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
from fwd.model import IPV4, IPV6

KEYWORD = {IPV4: "ip", IPV6: "ip6"}
TABLES = {family: f"{KEYWORD[family]} flannel-ipv{family}" for family in FAMILIES}
"""Both are there always, whatever is in them, because flannel's are."""


class Base(Struct, frozen=True):
    """A chain of ours, and where the kernel calls it."""

    name: str
    type: str
    hook: str
    priority: int
    comment: str

    @property
    def header(self) -> str:
        """As `nft -n` lists it."""
        return f"type {self.type} hook {self.hook} priority {self.priority}; policy accept;"


MASQUERADE = Base(
    "postrtg", "nat", "postrouting", 100, "chain to manage traffic masquerading by flannel"
)
FORWARD = Base("forward", "filter", "forward", 0, "chain to accept flannel traffic")

Contents: TypeAlias = Mapping[Base, Sequence[str]]
"""The wanted rules of a table's chains, in the order in which flannel makes these."""


class Chain(Struct, frozen=True):
    """A chain that is there."""

    header: str
    rules: tuple[str, ...]


class Table(Struct, frozen=True):
    """A table that is there."""

    chains: Mapping[str, Chain]
    others: tuple[str, ...] = ()
    """First lines of what is neither a chain nor a comment: sets, flags, ..."""


def wanted_contents(wanted: Wanted, family: int, *, random_fully: bool) -> dict[Base, list[str]]:
    """A chain that has no rules is not to be."""
    found = {
        MASQUERADE: wanted_masquerade(wanted, family, Dialect.NFTABLES),
        FORWARD: wanted_forward(wanted, family),
    }
    random_fully = random_fully and wanted.random_fully
    return {
        base: [render(rule, family, random_fully=random_fully) for rule in rules]
        for base, rules in found.items()
        if rules
    }


def render(rule: Rule, family: int, *, random_fully: bool) -> str:
    """A rule as nft lists it."""
    words = [f"meta mark 0x{MASQUERADED:08x}"] if rule.marked else []
    if rule.interfaces:
        words.append(f'iifname "{rule.interfaces}*"')
    for field, match in (("saddr", rule.source), ("daddr", rule.destination)):
        if match is not None:
            words.append(_render_match(f"{KEYWORD[family]} {field}", match))
    words.append(rule.verdict.value)
    if rule.verdict is Verdict.MASQUERADE and random_fully:
        words.append("fully-random")
    return " ".join(words)


def _render_match(field: str, match: Match) -> str:
    return f"{field} {'!= ' if match.negated else ''}{match.network}"


def is_absent(complaint: str) -> bool:
    """Whether `nft list table` says that there is no such table."""
    return re.match(r"Error: No such file or directory(;|$)", complaint, re.MULTILINE) is not None


def parse(text: str) -> dict[str, Table]:
    """Tables by family and name, of what `nft -n list table` printed, of one or of several."""
    blocks = _blocks(text.splitlines())
    return {
        head.removeprefix("table ").removesuffix(" {"): _parse_table(body) for head, body in blocks
    }


def _parse_table(lines: Sequence[str]) -> Table:
    chains = {}
    others = []
    for head, body in _blocks(lines):
        name = re.fullmatch(r"chain (\S+) \{", head)
        if name:
            inner = [line for line, _ in _blocks(body)]
            headers = [line for line in inner if line.startswith("type ")]
            rules = [line for line in inner if not line.startswith(("type ", "comment "))]
            chains[name[1]] = Chain(" ".join(headers), tuple(rules))
        elif not head.startswith("comment "):
            others.append(head)
    return Table(chains, tuple(others))


def _blocks(lines: Iterable[str]) -> list[tuple[str, list[str]]]:
    """First line, and the lines up to its brace's end; blank lines are left out."""
    blocks: list[tuple[str, list[str]]] = []
    depth = 0
    for raw in lines:
        line = raw.strip()
        bare = re.sub(r'"[^"]*"', "", line)
        after = depth + bare.count("{") - bare.count("}")
        if depth == 0 and line:
            blocks.append((line, []))
        elif depth and after:
            blocks[-1][1].append(raw)
        depth = after
    return blocks


def plan(family: int, contents: Contents, there: Table | None) -> list[Finding]:
    """What is wrong with a table; nothing: leave it."""
    table = TABLES[family]
    if there is None:
        return [Finding("nft", Kind.MISSING, f"table {table}")]
    findings = [Finding(f"nft {table}", Kind.FOREIGN, line) for line in there.others]
    for base, rules in contents.items():
        where = f"nft {table} {base.name}"
        chain = there.chains.get(base.name, Chain("", ()))
        if chain.header != base.header:
            findings.append(Finding(where, Kind.MISSING, base.header))
        findings += compare(rules, chain.rules, where=where)
    names = {base.name for base in contents}
    findings += (
        Finding(f"nft {table}", Kind.FOREIGN, f"chain {name}")
        for name in there.chains
        if name not in names
    )
    return findings


def payload(family: int, contents: Contents, *, comments: bool) -> str:
    """What `nft -f -` reads to make a table anew.  Without comments where nft knows none."""
    table = TABLES[family]
    lines = [f"add table {table}", f"delete table {table}"]  # the first, as it may not be there
    remark = f'comment "rules for {table.split()[1]}";'
    lines.append(f"add table {table} {{ {remark} }}" if comments else f"add table {table}")
    for base, rules in contents.items():
        remark = f' comment "{base.comment}";' if comments else ""
        lines.append(f"add chain {table} {base.name} {{ {base.header}{remark} }}")
        lines += (f"add rule {table} {base.name} {rule}" for rule in rules)
    return "".join(f"{line}\n" for line in lines)


def removal(tables: Iterable[str]) -> str:
    """What `nft -f -` reads to remove tables that are there."""
    return "".join(f"delete table {table}\n" for table in tables)


def probe(statement: str) -> str:
    """A transaction that `nft --check` accepts only if nft and the kernel know this statement."""
    return (
        f"add table {_PROBE}\n"
        f"add chain {_PROBE} {MASQUERADE.name} {{ {MASQUERADE.header} }}\n"
        f"add rule {_PROBE} {MASQUERADE.name} {statement}\n"
    )


_PROBE = "ip flannel-probe"
"""Never there: nothing that is only checked stays."""

COMMENTED = f'add table {_PROBE} {{ comment "probe"; }}\n'
"""For `nft --check`: whether comments are known; before 1.0 they are not."""
