# SPDX-License-Identifier: Apache-2.0
"""A node that is a network namespace with rules in it, and flannel's dumps to compare with.

The keeper runs in a thread that is in the namespace; the programs that it starts are there, too.
"""

import asyncio
import subprocess
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from fwd.core import iptables as text
from fwd.core import nftables as nft_text
from fwd.core.rules import Finding, Wanted
from fwd.lab import netns
from fwd.node.rules import keeper
from fwd.node.rules.keeper import Engine, RuleKeeper
from tests.netns.sockets import call_in
from tests.unit.rules_model import BOTH, GOLDEN, sections

ENGINES: Final = ("iptables-nft", "iptables-legacy", "nftables")
BACK_ENDS: Final = ENGINES[:2]
LIMIT: Final = 60.0  # seconds for anything that a keeper does
T = TypeVar("T")

OTHERS_PAYLOAD: Final = """*nat
:KUBE-POSTROUTING - [0:0]
:KUBE-SERVICES - [0:0]
-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MASQUERADE --random-fully
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
COMMIT
*filter
:KUBE-FORWARD - [0:0]
-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
-A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT
COMMIT
"""
"""What kube-proxy has, before and beside us."""

OTHERS_NFT: Final = """table inet mine {
    chain forward { type filter hook forward priority 10; policy accept; ip daddr 10.9.9.9 drop; }
}
"""


class Node:
    """A namespace for one test."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace

    def run(self, *argv: str, stdin: str = "", code: int | None = 0) -> str:
        """A program inside; code None: any."""
        done = subprocess.run(
            netns.inside(self.namespace, *argv),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )
        assert code in (None, done.returncode), f"{argv}: {done.stderr}"
        return done.stdout

    def do(self, what: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """A coroutine inside."""

        async def limited() -> T:
            async with asyncio.timeout(LIMIT):
                return await what()

        return call_in(self.namespace, lambda: asyncio.run(limited()))

    def engine(self, name: str) -> Engine:
        """By its name, whatever the node uses."""
        engines = self.do(keeper.installed_engines)
        return next(engine for engine in engines if engine.name == name)

    def keeper(self, engine: str, wanted: Wanted = BOTH) -> "Kept":
        """A keeper that has installed nothing yet."""
        return Kept(self, RuleKeeper(self.engine(engine), wanted))

    def dump(self, engine: str) -> str:
        """As the golden files have it."""
        if engine == "nftables":
            return self.run("nft", "list", "ruleset")
        back_end = engine.removeprefix("iptables-")
        lines = ""
        for command in ("iptables", "ip6tables"):
            for table in ("nat", "filter"):
                listed = self.run(f"{command}-{back_end}", "-w", "5", "-t", table, "-S")
                lines += f"$ {command} -t {table} -S\n{listed}"
        return lines

    def everything(self) -> dict[str, list[str]]:
        """All rules of all kinds, without what only touching them makes.

        iptables' programs make a table with its built-in chains when it is first used, and nothing
        ever unmakes these.  So of iptables, chains of users and rules count, and policies that are
        not ACCEPT; of nft, all but base chains without rules whose policy is accept, and tables
        that are empty but for these.
        """
        found = {
            command: _without_built_in(self.run(command))
            for back_end in ("nft", "legacy")
            for command in (f"iptables-{back_end}-save", f"ip6tables-{back_end}-save")
        }
        return found | {"nft": _without_empty(self.run("nft", "list", "ruleset"))}


class Kept:
    """A keeper whose coroutines run in its node."""

    def __init__(self, node: Node, keeper: RuleKeeper) -> None:
        self._node = node
        self.keeper = keeper

    def install(self) -> list[Finding]:
        return self._node.do(self.keeper.install)

    def check(self) -> list[Finding]:
        return self._node.do(self.keeper.check)

    def change(self, wanted: Wanted) -> list[Finding]:
        return self._node.do(lambda: self.keeper.change(wanted))

    def remove(self, *, dry_run: bool = False) -> list[Finding]:
        return self._node.do(lambda: self.keeper.remove(dry_run=dry_run))


def _without_built_in(dump: str) -> list[str]:
    table = ""
    kept = []
    for line in dump.splitlines():
        if line.startswith("*"):
            table = line
        elif line.startswith("-A") or (line.startswith(":") and " ACCEPT " not in line):
            kept.append(f"{table} {line.partition(' [')[0]}")
    return sorted(kept, key=lambda line: line.split()[0])  # tables are listed in any order


def _without_empty(listing: str) -> list[str]:
    kept = []
    for name, table in nft_text.parse(listing).items():
        kept += [f"{name} {other}" for other in table.others]
        for chain_name, chain in table.chains.items():
            if chain.rules or "policy accept" not in chain.header:
                kept.append(f"{name} {chain_name} {chain.header}")
                kept += [f"{name} {chain_name}: {rule}" for rule in chain.rules]
        if name in nft_text.TABLES.values():
            kept.append(name)
    return kept


@contextmanager
def namespace(name: str) -> Iterator[str]:
    """With this name, new; gone afterwards."""
    netns.delete([name])
    netns.create([name])
    try:
        yield name
    finally:
        netns.delete([name])


def golden(engine: str, case: str = "masq-forward") -> str:
    kind = "nftables" if engine == "nftables" else "iptables"
    return (GOLDEN / f"{kind}-{case}.txt").read_text()


def write_as_flannel(node: Node, engine: str, case: str = "masq-forward") -> None:
    """Puts a golden file's rules in place, without fwd."""
    if engine == "nftables":
        node.run("nft", "-f", "-", stdin=golden(engine, case))
        return
    for command, listed in sections(golden(engine, case)).items():
        program, _, table, _ = command.split()
        lines = [
            f":{line[3:]} - [0:0]" if line.startswith("-N") else line
            for line in listed.splitlines()
            if not line.startswith("-P")
        ]
        restore(node, engine, text.payload({table: lines}), command=program)


def restore(node: Node, engine: str, payload: str, *, command: str = "iptables") -> None:
    """iptables-restore of this back end."""
    back_end = engine.removeprefix("iptables-")
    node.run(f"{command}-{back_end}-restore", "--noflush", "-w", "5", stdin=payload)
