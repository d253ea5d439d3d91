# SPDX-License-Identifier: Apache-2.0
"""Rules through iptables' programs, of either back end.

Which one the node uses is `backend`'s to find out.

A check reads `iptables -S` of two chains, which with nft costs 4 ms beside 24,000 rules of others,
where iptables-save takes 400 ms (measured, iptables 1.8.9); with legacy both read all.  Only what
begins or ends the rules' life reads iptables-save, which makes no table that is not there; of its
lines, of which kube-proxy may have 100,000, only those are kept that concern us.
"""

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from msgspec import Struct

from fwd.core import iptables as text
from fwd.core.backoff import Allowance
from fwd.core.rules import Finding, Repair, Transaction, Wanted
from fwd.model import IPV4, IPV6
from fwd.node.rules.programs import (
    LOCK_SECONDS,
    Done,
    LockHeldError,
    find,
    read_lines,
    run,
)

COMMANDS = {IPV4: "iptables", IPV6: "ip6tables"}

_NO_CHAIN = 1
_RESOURCE_PROBLEM = 4
"""Exit codes (include/xtables.h); the latter is the lock's, among others."""
_MOVES = 5
_MOVE_SECONDS = 300.0
"""So often each jump is put back behind others' rules, and then once in so many seconds: who wants
it elsewhere shall have it meanwhile rather than be fought with."""
_MODERN = (1, 6, 2)
"""Since then restore waits for the lock, and MASQUERADE knows --random-fully (flannel spec 7.2)."""


class Programs(Struct, frozen=True):
    """The programs of one family, as paths."""

    command: str
    save: str
    restore: str

    @classmethod
    def find(cls, command: str) -> Self | None:
        """All three of them, or none."""
        paths = [find(f"{command}{suffix}") for suffix in ("", "-save", "-restore")]
        found = [path for path in paths if path is not None]
        return cls(*found) if len(found) == len(paths) else None


class _Place:
    """Where one jump belongs: behind others' rules that it was behind when all was right."""

    def __init__(self) -> None:
        self._behind: frozenset[str] = frozenset()
        self._moves = Allowance(burst=_MOVES, seconds=_MOVE_SECONDS)

    def insists_on(self, part: text.Part, chains: text.Chains) -> frozenset[str]:
        """What it has to be behind now: nothing while somebody has moved it too often."""
        if text.was_moved(part, chains, behind=self._behind):
            now = time.monotonic()
            if self._moves.wait(now):
                return frozenset()
            self._moves.take(now)
        return self._behind

    def learn(self, part: text.Part, chains: text.Chains) -> None:
        """All is right, but for a move that is put up with for now."""
        if not text.was_moved(part, chains, behind=self._behind):
            self._behind = text.ahead_of_jump(part, chains)


class Iptables:
    """One back end.  All that is a family's is by family; ip6tables may be missing."""

    def __init__(
        self, back_end: str, programs: Mapping[int, Programs], *, version: tuple[int, ...]
    ) -> None:
        self.back_end = back_end
        self.programs = programs
        self.modern = version >= _MODERN
        self._places: defaultdict[tuple[int, text.Part], _Place] = defaultdict(_Place)

    @property
    def _wait(self) -> list[str]:
        return ["-w", str(LOCK_SECONDS)] if self.modern else []

    @property
    def name(self) -> str:
        """For logs; also tells engines apart."""
        return f"iptables-{self.back_end}"

    async def plan(self, wanted: Wanted, *, thorough: bool) -> Repair:
        """What is wrong now.  Not thorough: only of what is wanted, and not what others refer to.

        Raises RuleError.
        """
        findings: list[Finding] = []
        transactions = []
        for family in self.programs if thorough else wanted.families:
            rules = {
                part: text.wanted_rules(part, wanted, family, random_fully=self.modern)
                for part in text.PARTS
            }
            if thorough:
                tables = await self._save(family, needed=family in wanted.families)
            else:
                tables = await self._list(family, rules)
            wrong, lines = self._plan_family(family, rules, tables)
            findings += wrong
            if lines:
                transactions.append(Transaction(text.payload(lines), family))
        return Repair(tuple(findings), tuple(transactions))

    def _plan_family(
        self,
        family: int,
        rules: Mapping[text.Part, Sequence[str]],
        tables: Mapping[str, text.Chains],
    ) -> tuple[list[Finding], dict[str, list[str]]]:
        direct = text.direct_rules(tables)
        findings: list[Finding] = []
        lines: dict[str, list[str]] = {}
        for part in text.PARTS:
            if not rules[part] and part.table not in tables:
                continue
            chains, place = tables.get(part.table, {}), self._places[family, part]
            wrong, repair = text.plan(
                part,
                rules[part],
                chains,
                direct=direct[part.table],
                where=f"{COMMANDS[family]}-{self.back_end} {part.table}",
                behind=place.insists_on(part, chains),
            )
            if not wrong:
                place.learn(part, chains)
            findings += wrong
            if repair:
                lines[part.table] = repair
        return findings, lines

    async def plan_removal(self) -> Repair:
        """All that is ours, in both families."""
        return await self.plan(Wanted(networks={}, subnets={}), thorough=True)

    async def apply(self, repair: Repair) -> None:
        """Raises RuleError; a transaction has then changed nothing in the table at fault."""
        for transaction in repair.transactions:
            assert transaction.family is not None
            argv = [self.programs[transaction.family].restore, "--noflush", *self._wait]
            _checked(await run(argv, stdin=transaction.text))

    async def _save(self, family: int, *, needed: bool) -> dict[str, dict[str, list[str]]]:
        reading = text.Reading(text.concerns_us)
        done = await read_lines([self.programs[family].save], reading.take)
        if done.code and not needed and family == IPV6 and not _has_ipv6():
            return {}
        done.checked()
        return reading.tables

    async def _list(
        self, family: int, rules: Mapping[text.Part, Sequence[str]]
    ) -> dict[str, dict[str, list[str]]]:
        """The two chains of each part that has rules; a chain of ours may be missing."""
        tables = {}
        for part in (part for part in text.PARTS if rules[part]):
            argv = [self.programs[family].command, *self._wait, "-t", part.table, "-S"]
            builtin = _checked(await run([*argv, part.builtin]))
            own = await run([*argv, part.chain])
            # Other reasons for this code than that there is no such chain failed above, too.
            listed = "" if own.code == _NO_CHAIN else _checked(own)
            tables[part.table] = text.parse(builtin + listed).get("", {})
        return tables


def _has_ipv6() -> bool:
    """A kernel without IPv6 may not let ip6tables look."""
    return Path("/proc/sys/net/ipv6").exists()


def _checked(done: Done) -> str:
    if done.code == _RESOURCE_PROBLEM and "xtables lock" in done.err:
        raise LockHeldError(f"another program has held iptables' lock for {LOCK_SECONDS} s")
    return done.checked()
