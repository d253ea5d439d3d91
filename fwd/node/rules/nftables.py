# SPDX-License-Identifier: Apache-2.0
"""Rules through nft."""

from collections.abc import Sequence
from typing import Self

from fwd.core import nftables as text
from fwd.core.rules import FAMILIES, Finding, Kind, Repair, Transaction, Wanted
from fwd.model import ConfigError
from fwd.node.rules.programs import find, run

MISSING = (
    "nft is not installed, and EnableNFTables in net-conf.json needs it: install nftables, or set "
    "EnableNFTables to false"
)


class Nftables:
    """flannel's two tables."""

    name = "nftables"

    def __init__(self, nft: str, *, comments: bool) -> None:
        self._nft = nft
        self.comments = comments
        self.random_fully: bool | None = None
        """None: not asked yet."""

    @classmethod
    async def find(cls) -> Self | None:
        """None: nft is not installed."""
        nft = find("nft")
        return cls(nft, comments=await _accepts(nft, text.COMMENTED)) if nft else None

    async def plan(self, wanted: Wanted, *, thorough: bool) -> Repair:  # noqa: ARG002
        """What is wrong now.  Raises RuleError."""
        there = await self._tables()
        asked = wanted.masquerade and wanted.random_fully
        random_fully = asked and await self._knows_random_fully()
        findings: list[Finding] = []
        lines = ""
        for family in FAMILIES:
            contents = text.wanted_contents(wanted, family, random_fully=random_fully)
            wrong = text.plan(family, contents, there.get(text.TABLES[family]))
            findings += wrong
            if findings:  # also what comes after a wrong one: tables are listed as they were made
                lines += text.payload(family, contents, comments=self.comments)
        return _repair(findings, lines)

    async def plan_removal(self) -> Repair:
        """Both tables, as far as they are there."""
        names = sorted(await self._tables())
        findings = [Finding("nft", Kind.UNWANTED, f"table {name}") for name in names]
        return _repair(findings, text.removal(names))

    async def apply(self, repair: Repair) -> None:
        """Raises RuleError, and has changed nothing then."""
        for transaction in repair.transactions:
            (await run([self._nft, "-f", "-"], stdin=transaction.text)).checked()

    async def _knows_random_fully(self) -> bool:
        """Asked only where somebody masquerades.

        As long as the kernel looks at such a rule it tracks connections and puts fragments together
        again; on a node that does neither, a datagram that is halfway through then is lost.
        """
        if self.random_fully is None:
            probe = text.probe("masquerade fully-random")
            self.random_fully = await _accepts(self._nft, probe)
        return self.random_fully

    async def _tables(self) -> dict[str, text.Table]:
        """Those of ours that are there.  Others' tables, which may be huge, are not read.

        One run each: nft 1.0.6 finds only one of the tables that one run is told to list; and for
        `list tables` it reads all rules (50,000 of iptables-nft: 8 s, 190 MiB).
        """
        there = ""
        for name in sorted(text.TABLES.values()):
            done = await run([self._nft, "-n", "list", "table", *name.split()])
            if done.code == 0 or not text.is_absent(done.err):
                there += done.checked()
        return text.parse(there)


async def _accepts(nft: str, lines: str) -> bool:
    return (await run([nft, "--check", "-f", "-"], stdin=lines)).code == 0


def _repair(findings: Sequence[Finding], lines: str) -> Repair:
    return Repair(tuple(findings), (Transaction(lines),) if lines else ())


def require_program() -> None:
    """ConfigError if nft is not installed."""
    if find("nft") is None:
        raise ConfigError(MISSING)


async def choose() -> Nftables:
    """ConfigError if nft is not installed."""
    engine = await Nftables.find()
    if engine is None:
        raise ConfigError(MISSING)
    return engine
