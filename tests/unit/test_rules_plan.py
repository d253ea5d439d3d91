# SPDX-License-Identifier: Apache-2.0
"""The way from any state to the wanted one, against plain twins and a model of the programs."""

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwd.core import iptables, nftables
from fwd.core.iptables import FORWARD, MASQUERADE, Part
from fwd.core.rules import FAMILIES, Kind, Wanted
from fwd.model import IPV4
from tests.unit.rules_model import (
    ALONE,
    BOTH,
    OTHERS,
    V0_11,
    V0_11_FORWARD,
    Table,
    disturbed,
    installed,
    restore,
    rules_of,
    stale_rules,
    twin,
    twin_without,
)

PARTS = pytest.mark.parametrize("part", iptables.PARTS, ids=lambda part: part.table)
CLUSTERS = pytest.mark.parametrize("wanted", [BOTH, ALONE], ids=["of many", "of one node"])


def planned(part: Part, table: Table, rules: Sequence[str]) -> tuple[list[Kind], list[str]]:
    direct = iptables.direct_rules({part.table: table})[part.table]
    findings, lines = iptables.plan(part, rules, table, direct=direct, where="w")
    return [finding.kind for finding in findings], lines


@PARTS
@CLUSTERS
@given(data=st.data())
def test_a_repair_leaves_what_the_twin_leaves(
    part: Part, wanted: Wanted, data: st.DataObject
) -> None:
    rules, table = rules_of(part, wanted), data.draw(disturbed(part, wanted))
    findings, lines = planned(part, table, rules)
    made = restore(table, lines)
    expected = twin(part, table, wanted=wanted)
    assert made == expected
    assert bool(findings) == bool(lines) == (table != expected)
    assert planned(part, made, rules) == ([], [])


@PARTS
@given(data=st.data())
def test_what_is_kept_of_a_table_is_all_that_a_plan_looks_at(
    part: Part, data: st.DataObject
) -> None:
    table = data.draw(disturbed(part))
    table["KUBE-POSTROUTING"].append(f"-g {part.chain}")
    lines = [f"*{part.table}", *(f":{chain} - [0:0]" for chain in table)]
    lines += [f"-A {chain} {rule}" for chain, rules in table.items() for rule in rules]
    reading = iptables.Reading(iptables.concerns_us)
    for line in [*lines, "*raw", ":PREROUTING ACCEPT [0:0]", "-A PREROUTING -j X"]:
        reading.take(line)
    assert iptables.parse("\n".join(lines)) == {part.table: table}
    assert reading.tables["raw"] == {}
    for rules in (rules_of(part), []):
        assert planned(part, reading.tables[part.table], rules) == planned(part, table, rules)


@PARTS
@given(data=st.data())
def test_a_removal_leaves_others_as_they_are(part: Part, data: st.DataObject) -> None:
    table = data.draw(disturbed(part))
    findings, lines = planned(part, table, [])
    made = restore(table, lines)
    assert made == twin_without(part, table)
    assert bool(findings) == bool(lines)
    assert set(findings) <= {Kind.UNWANTED}
    assert planned(part, made, []) == ([], [])


@PARTS
def test_the_jump_may_be_anywhere_among_others(part: Part) -> None:
    """Who insisted on a place would fight kube-proxy, which inserts its own at the head."""
    for at in range(len(OTHERS) + 1):
        table = installed(part)
        table[part.builtin] = [*OTHERS[:at], part.jump, *OTHERS[at:]]
        assert planned(part, table, rules_of(part)) == ([], [])


@PARTS
def test_a_jump_that_is_gone_is_appended(part: Part) -> None:
    table = installed(part)
    table[part.builtin].remove(part.jump)
    assert planned(part, table, rules_of(part)) == (
        [Kind.MISSING],
        [f"-A {part.builtin} {part.jump}"],
    )


@PARTS
def test_what_an_earlier_flannel_wrote_is_stale(part: Part) -> None:
    for rule in stale_rules(part):
        table = installed(part)
        table[part.builtin].insert(0, rule)
        assert planned(part, table, rules_of(part)) == ([Kind.STALE], [f"-D {part.builtin} {rule}"])


@PARTS
def test_a_reference_from_another_chain_goes_with_the_chain(part: Part) -> None:
    table = installed(part)
    table["KUBE-POSTROUTING"].append(f"-j {part.chain}")
    assert planned(part, table, rules_of(part)) == ([], [])
    assert restore(table, planned(part, table, [])[1]) == twin_without(part, table)


def test_rules_of_v0_11_are_known_by_the_whole_set() -> None:
    plain = [rule.removesuffix(" --random-fully") for rule in V0_11]
    for rules in (list(V0_11), plain):
        tables = {
            "nat": {"POSTROUTING": [OTHERS[1], *rules, OTHERS[2]]},
            "filter": {"FORWARD": ["-j X", *V0_11_FORWARD]},
        }
        assert iptables.direct_rules(tables) == {
            "nat": set(rules),
            "filter": set(V0_11_FORWARD),
        }
        for missing in rules:
            some = [rule for rule in rules if rule != missing]
            tables["nat"] = {"POSTROUTING": some}
            assert iptables.direct_rules(tables) == {"nat": set(), "filter": set()}


def test_an_operators_accept_rules_are_not_taken_for_v0_11s() -> None:
    tables = {"filter": {"FORWARD": list(V0_11_FORWARD)}}
    assert iptables.direct_rules(tables)[FORWARD.table] == set()
    both = {"nat": {"POSTROUTING": list(V0_11)}, "filter": {"FORWARD": [V0_11_FORWARD[0]]}}
    assert iptables.direct_rules(both)[FORWARD.table] == set()


def test_a_payload_commits_each_table() -> None:
    assert iptables.payload({"filter": ["a", "b"], "nat": ["c"]}) == (
        "*filter\na\nb\nCOMMIT\n*nat\nc\nCOMMIT\n"
    )


def test_rules_that_cannot_be_split_are_others() -> None:
    table = installed(MASQUERADE)
    table["POSTROUTING"].insert(0, "-m comment --comment \"FLANNEL-POSTRTG's -j ACCEPT")
    assert planned(MASQUERADE, table, rules_of(MASQUERADE)) == ([], [])


def contents(family: int, wanted: Wanted = BOTH) -> dict[nftables.Base, list[str]]:
    return nftables.wanted_contents(wanted, family, random_fully=True)


def listed(chains: Mapping[str, tuple[str, Sequence[str]]], others: Sequence[str] = ()) -> str:
    """What `nft -n list table` prints."""
    lines = ["table ip flannel-ipv4 {", '\tcomment "rules for flannel-ipv4"']
    lines += [f"\t{other}" for other in others]
    for name, (header, rules) in chains.items():
        lines += [f"\tchain {name} {{", '\t\tcomment "c"', f"\t\t{header}"]
        lines += [f"\t\t{rule}" for rule in rules] + ["\t}", ""]
    return "\n".join([*lines, "}"]) + "\n"


def as_listed(wanted: Wanted = BOTH) -> dict[str, tuple[str, list[str]]]:
    return {base.name: (base.header, list(rules)) for base, rules in contents(IPV4, wanted).items()}


def nft_plan(text: str, wanted: Wanted = BOTH) -> list[Kind]:
    there = nftables.parse(text)
    found = nftables.plan(IPV4, contents(IPV4, wanted), there.get("ip flannel-ipv4"))
    return [finding.kind for finding in found]


FOREIGN = ("accept", "ip saddr 10.9.0.0/16 drop", "ip saddr { 10.0.0.1, 10.0.0.2 } accept")


@CLUSTERS
@given(data=st.data())
def test_a_table_of_nft_is_right_only_if_it_is_the_wanted_one(
    wanted: Wanted, data: st.DataObject
) -> None:
    chains = as_listed(wanted)
    for _ in range(data.draw(st.integers(0, 4))):
        name = data.draw(st.sampled_from(sorted(chains)))
        header, rules = chains[name]
        at = data.draw(st.integers(0, len(rules)))
        match data.draw(st.sampled_from(["delete", "double", "move", "insert", "policy"])):
            case "delete" if at < len(rules):
                del rules[at]
            case "double" if at < len(rules):
                rules.insert(at, rules[at])
            case "move" if at < len(rules):
                rules.insert(data.draw(st.integers(0, len(rules))), rules.pop(at))
            case "insert":
                rules.insert(at, data.draw(st.sampled_from(FOREIGN)))
            case "policy":
                chains[name] = header.replace("accept", "drop"), rules
    assert bool(nft_plan(listed(chains), wanted)) == (chains != as_listed(wanted))


def test_the_order_of_chains_says_nothing() -> None:
    assert nft_plan(listed(dict(reversed(as_listed().items())))) == []


@pytest.mark.parametrize(
    ("others", "kinds"),
    [
        ((), []),
        (("flags dormant",), [Kind.FOREIGN]),
        (("set s {", "type ipv4_addr", "}"), [Kind.FOREIGN]),
        (("chain x {", "}"), [Kind.FOREIGN]),
    ],
)
def test_what_else_is_in_our_table_is_foreign(others: tuple[str, ...], kinds: list[Kind]) -> None:
    assert nft_plan(listed(as_listed(), others)) == kinds


def test_a_table_that_is_not_there_is_missing() -> None:
    assert nft_plan("") == [Kind.MISSING]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_transaction_of_nft_ends_the_old_table_and_makes_the_wanted_one(family: int) -> None:
    table = nftables.TABLES[family]
    lines = nftables.payload(family, contents(family), comments=False).splitlines()
    assert lines[:3] == [f"add table {table}", f"delete table {table}", f"add table {table}"]
    made = [line.removeprefix(f"add rule {table} ").split(" ", 1) for line in lines[3:]]
    for base, rules in contents(family).items():
        assert [rest for name, rest in made if name == base.name] == rules
