# SPDX-License-Identifier: Apache-2.0
"""Every rule that someone deletes, doubles or moves is put right, and nobody is fought with."""

import fcntl
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fwd.core import iptables, nftables
from fwd.core.rules import FAMILIES, Finding, Kind, Wanted
from fwd.model import IPV4, IPV6
from fwd.node.rules import iptables as node_iptables
from fwd.node.rules.programs import LockHeldError
from tests.netns.names import own
from tests.netns.rules_support import BACK_ENDS, Node, golden, namespace, restore
from tests.unit.rules_model import (
    BOTH,
    NETWORKS,
    OTHERS,
    SUBNETS,
    Table,
    disturbed,
    installed,
    rules_of,
    sections,
    twin,
)

pytestmark = pytest.mark.netns

COMMANDS = {IPV4: "iptables", IPV6: "ip6tables"}


@pytest.fixture
def node() -> Iterator[Node]:
    with namespace(own("rt-node")) as name:
        yield Node(name)


def kinds(found: list[Finding]) -> set[Kind]:
    return {finding.kind for finding in found}


def only(part: iptables.Part, family: int) -> Wanted:
    """The golden cluster's rules of one part and family."""
    return Wanted(
        {family: NETWORKS[family]},
        {family: SUBNETS[family]},
        masquerade=part is iptables.MASQUERADE,
        forward=part is iptables.FORWARD,
    )


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("part", iptables.PARTS, ids=lambda part: part.table)
@pytest.mark.parametrize("engine", BACK_ENDS)
def test_each_rule_of_iptables(node: Node, engine: str, part: iptables.Part, family: int) -> None:
    """One part of one family at a time: each look and each repair is a process."""
    command = COMMANDS[family]
    kept = node.keeper(engine, only(part, family))
    kept.install()
    rules = rules_of(part, family=family)
    right = sections(golden(engine))[f"{command} -t {part.table} -S"]
    listing = (f"{command}-{engine.removeprefix('iptables-')}", "-w", "5", "-t", part.table, "-S")

    def disturb(*lines: str) -> set[Kind]:
        restore(node, engine, iptables.payload({part.table: lines}), command=command)
        found = kinds(kept.check())
        assert node.run(*listing) == right, lines
        return found

    for at, rule in enumerate(rules, start=1):
        assert disturb(f"-D {part.chain} {at}") == {Kind.MISSING}
        assert disturb(f"-A {part.chain} {rule}") == {Kind.DUPLICATE}
        assert disturb(f"-I {part.chain} {at} {rule}") == {Kind.DUPLICATE}
        place = 1 if at > 1 else 2
        move = (f"-D {part.chain} {at}", f"-I {part.chain} {place} {rule}")
        assert disturb(*move) == {Kind.MISPLACED}
        assert disturb(f"-I {part.chain} {at} -j RETURN") == {Kind.FOREIGN}
    assert disturb(f"-D {part.builtin} {part.jump}") == {Kind.MISSING}
    assert disturb(f"-A {part.builtin} {part.jump}") == {Kind.DUPLICATE}
    assert disturb(f"-I {part.builtin} -j {part.chain}") == {Kind.STALE}
    assert disturb(f"-F {part.chain}") == {Kind.MISSING}
    gone = (f"-D {part.builtin} {part.jump}", f"-F {part.chain}", f"-X {part.chain}")
    assert disturb(*gone) == {Kind.MISSING}


@pytest.mark.parametrize("part", iptables.PARTS, ids=lambda part: part.table)
@pytest.mark.parametrize("engine", BACK_ENDS)
def test_a_jump_is_left_where_others_put_it(node: Node, engine: str, part: iptables.Part) -> None:
    kept = node.keeper(engine)
    kept.install()
    for line in ("-A {} -j ACCEPT", "-I {} -s 10.9.0.0/16 -j ACCEPT"):
        payload = iptables.payload({part.table: [line.format(part.builtin)]})
        restore(node, engine, payload)
        before = node.dump(engine)
        assert kept.check() == []
        assert node.dump(engine) == before


@pytest.mark.parametrize("part", iptables.PARTS, ids=lambda part: part.table)
@pytest.mark.parametrize("engine", BACK_ENDS)
def test_a_jump_that_is_moved_is_put_back_but_not_for_ever(
    node: Node, engine: str, part: iptables.Part
) -> None:
    def change(*lines: str) -> None:
        restore(node, engine, iptables.payload({part.table: lines}))

    move = (f"-D {part.builtin} {part.jump}", f"-I {part.builtin} 1 {part.jump}")
    change(*(f"-A {part.builtin} -s 10.9.{number}.0/24 -j ACCEPT" for number in range(2)))
    kept = node.keeper(engine)
    kept.install()
    change(f"-A {part.builtin} -j ACCEPT")
    assert kept.check() == []
    change(f"-D {part.builtin} -j ACCEPT")
    right = node.dump(engine)
    for _ in range(node_iptables._MOVES):
        change(*move)
        assert node.dump(engine) != right
        assert kinds(kept.check()) == {Kind.MISPLACED}
        assert node.dump(engine) == right
    change(*move)
    moved = node.dump(engine)
    assert kept.check() == []
    assert node.dump(engine) == moved != right


def in_kernel(node: Node, engine: str, part: iptables.Part, table: Table) -> None:
    """Makes a table just this."""
    lines = [f":{chain} - [0:0]" for chain in table if chain != part.builtin]
    lines += [f"-F {part.builtin}"]
    lines += [f"-A {chain} {rule}" for chain, rules in table.items() for rule in rules]
    if part.chain not in table:
        lines = [f"-F {part.builtin}", f":{part.chain} - [0:0]", f"-X {part.chain}", *lines]
    restore(node, engine, iptables.payload({part.table: lines}))


@pytest.mark.parametrize("engine", BACK_ENDS)
@given(data=st.data())
@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_any_disturbance_is_repaired_as_the_model_says(
    node: Node, engine: str, data: st.DataObject
) -> None:
    """The namespace is that of the example before: each begins by saying what all is like."""
    part = iptables.MASQUERADE
    kept = node.keeper(engine)
    table = data.draw(disturbed(part))
    in_kernel(node, engine, part, installed(part))
    kept.install()
    in_kernel(node, engine, part, table)
    found = kept.check()
    back_end = engine.removeprefix("iptables-")
    dump = node.run(f"iptables-{back_end}", "-t", part.table, "-S")
    listed = iptables.parse(dump)[""]
    right = twin(part, table, behind=[OTHERS[0]])
    assert {chain: listed[chain] for chain in table | {part.chain: []}} == right
    assert bool(found) == (table != right)
    assert kept.check() == []


def handles(node: Node, family: int, base: nftables.Base) -> list[str]:
    """Of the rules of a chain."""
    listed = node.run("nft", "-a", "list", "chain", *nftables.TABLES[family].split(), base.name)
    return re.findall(r"(?:accept|return|masquerade fully-random) # handle (\d+)", listed)


@pytest.mark.parametrize("family", FAMILIES)
def test_each_rule_of_nftables(node: Node, family: int) -> None:
    kept = node.keeper("nftables")
    kept.install()
    contents = nftables.wanted_contents(BOTH, family, random_fully=True)

    def disturb(*lines: str) -> set[Kind]:
        node.run("nft", "-f", "-", stdin="\n".join(lines) + "\n")
        found = kinds(kept.check())
        assert node.dump("nftables") == golden("nftables"), lines
        return found

    for base, rules in contents.items():
        chain = f"{nftables.TABLES[family]} {base.name}"
        for at, rule in enumerate(rules):
            handle = handles(node, family, base)
            assert disturb(f"delete rule {chain} handle {handle[at]}") == {Kind.MISSING}
            assert disturb(f"add rule {chain} {rule}") == {Kind.DUPLICATE}
            handle = handles(node, family, base)
            other = handle[0 if at else 1]
            place = "insert" if at else "add"
            move = (
                f"{place} rule {chain} handle {other} {rule}",
                f"delete rule {chain} handle {handle[at]}",
            )
            assert disturb(*move) == {Kind.MISPLACED}
            assert disturb(f"insert rule {chain} return") == {Kind.FOREIGN}
        assert disturb(f"flush chain {chain}") == {Kind.MISSING}
        assert disturb(f"delete chain {chain}") == {Kind.MISSING}
        assert disturb(f"chain {chain} {{ policy drop; }}") == {Kind.MISSING}
    table = nftables.TABLES[family]
    assert disturb(f"delete table {table}") == {Kind.MISSING}
    assert disturb(f"add table {table} {{ flags dormant; }}") == {Kind.FOREIGN}
    assert disturb(f"add chain {table} mine") == {Kind.FOREIGN}
    assert disturb(f"add set {table} mine {{ type mark; }}") == {Kind.FOREIGN}


def test_what_is_right_is_not_made_anew(node: Node) -> None:
    """But the second table is with the first, so that they stay in flannel's order."""
    kept = node.keeper("nftables")
    kept.install()
    for family, same in ((IPV6, True), (IPV4, False)):
        other = next(iter(set(FAMILIES) - {family}))
        before = node.run("nft", "-a", "list", "table", *nftables.TABLES[other].split())
        node.run("nft", "flush", "table", *nftables.TABLES[family].split())
        assert kept.check()
        after = node.run("nft", "-a", "list", "table", *nftables.TABLES[other].split())
        assert (before == after) is same
        assert node.dump("nftables") == golden("nftables")


def test_the_lock_is_waited_for_but_not_for_ever(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = tmp_path / "xtables.lock"
    monkeypatch.setenv("XTABLES_LOCKFILE", str(lock))  # the node's own is the machine's, too
    monkeypatch.setattr(node_iptables, "LOCK_SECONDS", 1)
    kept = node.keeper("iptables-legacy")
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        for do in (kept.install, kept.check):
            with pytest.raises(LockHeldError, match="has held iptables' lock for 1 s"):
                do()
    kept.install()
    assert node.dump("iptables-legacy") == golden("iptables-legacy")
