# SPDX-License-Identifier: Apache-2.0
"""Which rules there are to be, as text, against flannel's; and what is wrong with others."""

from ipaddress import ip_network

import msgspec
import pytest

from fwd.core import iptables, nftables
from fwd.core.rules import FAMILIES, Finding, Kind, Wanted, compare
from fwd.model import IPV4, IPV6
from tests.unit.rules_model import ALONE, BOTH, CASES, GOLDEN, NETWORKS, SUBNETS, rules_of, sections

COMMANDS = {IPV4: "iptables", IPV6: "ip6tables"}


def golden_rules(case: str, family: int, part: iptables.Part) -> list[str]:
    text = (GOLDEN / f"iptables-{case}.txt").read_text()
    listed = sections(text)[f"{COMMANDS[family]} -t {part.table} -S"]
    return iptables.parse(listed)[""].get(part.chain, [])


@pytest.mark.parametrize("part", iptables.PARTS, ids=lambda part: part.table)
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("case", CASES)
def test_iptables_rules_are_flannels(case: str, family: int, part: iptables.Part) -> None:
    rules = iptables.wanted_rules(part, CASES[case], family, random_fully=True)
    assert rules == golden_rules(case, family, part)
    is_wanted = getattr(CASES[case], {"nat": "masquerade", "filter": "forward"}[part.table])
    assert bool(rules) == (is_wanted and family in CASES[case].networks)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("case", CASES)
def test_nftables_rules_are_flannels(case: str, family: int) -> None:
    listed = nftables.parse((GOLDEN / f"nftables-{case}.txt").read_text())
    table = listed[nftables.TABLES[family]]
    contents = nftables.wanted_contents(CASES[case], family, random_fully=True)
    assert [base.name for base in contents] == list(table.chains)
    for base, rules in contents.items():
        assert tuple(rules) == table.chains[base.name].rules


def test_random_fully_needs_both_the_program_and_the_operator() -> None:
    for part, supported, wanted in (
        (iptables.MASQUERADE, False, CASES["masq-forward"]),
        (iptables.MASQUERADE, True, CASES["masq-forward-plain"]),
    ):
        rules = iptables.wanted_rules(part, wanted, IPV4, random_fully=supported)
        assert rules == golden_rules("masq-forward-plain", IPV4, part)
        contents = nftables.wanted_contents(wanted, IPV4, random_fully=supported)
        assert "masquerade" in contents[nftables.MASQUERADE][-1].split()
        assert "fully-random" not in str(contents)


def test_a_family_that_is_off_has_no_rules() -> None:
    only = Wanted({IPV4: NETWORKS[IPV4]}, {IPV4: SUBNETS[IPV4]}, masquerade=True)
    assert only.families == (IPV4,)
    for part in iptables.PARTS:
        assert iptables.wanted_rules(part, only, IPV6, random_fully=True) == []
    assert nftables.wanted_contents(only, IPV6, random_fully=True) == {}


def test_without_rules_no_family_is_needed() -> None:
    assert CASES["none"].families == ()
    assert CASES["forward"].families == FAMILIES


A, B, C, D = "abcd"


@pytest.mark.parametrize(
    ("actual", "wrong"),
    [
        ([A, B, C], []),
        ([A, C], [(Kind.MISSING, B)]),
        ([], [(Kind.MISSING, A), (Kind.MISSING, B), (Kind.MISSING, C)]),
        ([A, B, B, C], [(Kind.DUPLICATE, B)]),
        ([A, B, C, A, A], [(Kind.DUPLICATE, A), (Kind.DUPLICATE, A)]),
        ([B, A, C], [(Kind.MISPLACED, B), (Kind.MISPLACED, A)]),
        ([A, D, B, C, D], [(Kind.FOREIGN, D), (Kind.FOREIGN, D)]),
        (
            [C, D, A],
            [(Kind.MISSING, B), (Kind.FOREIGN, D), (Kind.MISPLACED, C), (Kind.MISPLACED, A)],
        ),
    ],
)
def test_what_is_wrong_has_a_name(actual: list[str], wrong: list[tuple[Kind, str]]) -> None:
    found = compare([A, B, C], actual, where="w")
    assert [(finding.kind, finding.rule) for finding in found] == wrong


@pytest.mark.parametrize(
    ("actual", "wrong"),
    [
        ([A, B, B, C], []),
        ([A, B, C], [(Kind.MISSING, B)]),
        ([A, C], [(Kind.MISSING, B), (Kind.MISSING, B)]),
        ([A, B, B, B, C], [(Kind.DUPLICATE, B)]),
        ([B, A, B, C], [(Kind.MISPLACED, B), (Kind.MISPLACED, A)]),
        ([B, A, C], [(Kind.MISSING, B), (Kind.MISPLACED, B), (Kind.MISPLACED, A)]),
    ],
)
def test_a_rule_may_be_wanted_twice(actual: list[str], wrong: list[tuple[Kind, str]]) -> None:
    found = compare([A, B, B, C], actual, where="w")
    assert [(finding.kind, finding.rule) for finding in found] == wrong


def test_the_whole_network_on_one_node_has_a_rule_twice() -> None:
    """As in flannel's dump: to Pods and from Pods is the same then."""
    for family in FAMILIES:
        rules = rules_of(iptables.MASQUERADE, ALONE, family)
        assert rules[1] == rules[2]
        assert len(rules) == 6
        rules = nftables.wanted_contents(ALONE, family, random_fully=True)[nftables.MASQUERADE]
        assert rules[1] == rules[2]


def test_a_finding_reads_as_a_line() -> None:
    finding = Finding("iptables-nft nat POSTROUTING", Kind.MISSING, "-j X")
    assert str(finding) == "missing in iptables-nft nat POSTROUTING: -j X"


SAVE = """# Generated by iptables-save v1.8.9
*nat
:POSTROUTING ACCEPT [7:9]
:KUBE - [0:0]
-A POSTROUTING -m comment --comment "a b" -j KUBE
-A POSTROUTING
-A KUBE -j RETURN
COMMIT
*filter
:FORWARD DROP [0:0]
COMMIT
"""


def test_a_dump_is_read_by_table() -> None:
    assert iptables.parse(SAVE) == {
        "nat": {
            "POSTROUTING": ['-m comment --comment "a b" -j KUBE', ""],
            "KUBE": ["-j RETURN"],
        },
        "filter": {"FORWARD": []},
    }


def test_a_listing_is_read_as_a_dump_of_one_table() -> None:
    listed = "-P POSTROUTING ACCEPT\n-N KUBE\n-A POSTROUTING -j KUBE\n"
    assert iptables.parse(listed) == {"": {"POSTROUTING": ["-j KUBE"], "KUBE": []}}


NFT = """table ip flannel-ipv4 {
\tcomment "rules { for flannel-ipv4"
\tset s {
\t\ttype ipv4_addr
\t\telements = { 10.0.0.1,
\t\t\t     10.0.0.2 }
\t}

\tchain forward {
\t\tcomment "chain } to accept"
\t\ttype filter hook forward priority 0; policy drop;
\t\tip saddr { 10.0.0.1,
\t\t\t   10.0.0.2 } accept
\t\taccept
\t}
}
table ip6 flannel-ipv6 {
\tflags dormant
}
"""


def test_nft_listings_are_read_with_what_is_not_ours() -> None:
    v4, v6 = nftables.parse(NFT).values()
    assert v4.others == ("set s {",)
    assert v4.chains["forward"].header.endswith("policy drop;")
    assert v4.chains["forward"].rules == ("ip saddr { 10.0.0.1,", "accept")
    assert v6.others == ("flags dormant",)


def test_a_table_that_is_not_there_is_told_from_one_that_may_not_be_seen() -> None:
    absent = "Error: No such file or directory\nlist table ip flannel-ipv4\n              ^^^\n"
    assert nftables.is_absent(absent)
    guess = "; did you mean table ‘flannel-ipv4’ in family ip?\n"  # noqa: RUF001 - nft's
    assert nftables.is_absent(absent.partition("\n")[0] + guess)
    refused = "Error: cache initialization failed: Operation not permitted\n"
    assert not nftables.is_absent(refused)
    assert not nftables.is_absent("/usr/sbin/nft: No such file or directory\n")


def test_old_programs_get_no_comments() -> None:
    contents = nftables.wanted_contents(BOTH, IPV4, random_fully=True)
    assert "comment" in nftables.payload(IPV4, contents, comments=True)
    assert "comment" not in nftables.payload(IPV4, contents, comments=False)


def test_another_network_shares_no_rule_with_ours() -> None:
    """So its rules are foreign ones, which go: nothing of it has to be remembered."""
    other = Wanted(
        {IPV4: ip_network("10.9.0.0/16")}, {IPV4: ip_network("10.9.1.0/24")}, masquerade=True
    )
    for part in iptables.PARTS:
        ours = iptables.wanted_rules(part, BOTH, IPV4, random_fully=True)
        theirs = iptables.wanted_rules(part, other, IPV4, random_fully=True)
        common = {rule for rule in ours if "--mark" in rule}
        assert set(ours) & set(theirs) == common


@pytest.mark.parametrize(("family", "name"), [(IPV4, "fwd."), (IPV6, "fwd-v6.")])
def test_the_tunnels_own_datagrams_are_forwarded_if_there_are_any(family: int, name: str) -> None:
    without = CASES["masq-forward"]
    wanted = msgspec.structs.replace(without, tunnel_gso=True)
    texts = [
        iptables.wanted_rules(iptables.FORWARD, one, family, random_fully=True)
        for one in (without, wanted)
    ]
    rule = f'-i {name}+ -m comment --comment "flanneld forward" -j ACCEPT'
    assert texts[1] == [*texts[0], rule]
    contents = nftables.wanted_contents(wanted, family, random_fully=True)
    assert contents[nftables.FORWARD][-1] == f'iifname "{name}*" accept'
