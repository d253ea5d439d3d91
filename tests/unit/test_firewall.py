# SPDX-License-Identifier: Apache-2.0
"""What firewalls would do to a packet, from what iptables-save and nft print."""

from ipaddress import ip_address
from typing import Any

import msgspec
import pytest

from fwd.core.firewall import iptables, nft
from fwd.core.firewall.walk import Action, Chain, Decision, Fate, Packet, Rule, decide

OUTER = Packet(
    source=ip_address("192.168.50.2"),
    destination=ip_address("192.168.50.1"),
    protocol="udp",
    source_port=50000,
    destination_port=8472,
    in_device="eth0",
)
INNER = Packet(
    source=ip_address("10.244.2.2"),
    destination=ip_address("10.244.1.2"),
    protocol="tcp",
    source_port=50000,
    destination_port=80,
    in_device="flannel.1",
    out_device="cni0",
)

DOCKER = """\
*filter
:INPUT ACCEPT [0:0]
:FORWARD {policy} [0:0]
:OUTPUT ACCEPT [0:0]
:DOCKER - [0:0]
:DOCKER-USER - [0:0]
:FLANNEL-FWD - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -i docker0 ! -o docker0 -j ACCEPT
{more}
-A DOCKER-USER -j RETURN
-A FLANNEL-FWD -s 10.244.0.0/16 -m comment --comment "flanneld forward" -j ACCEPT
-A FLANNEL-FWD -d 10.244.0.0/16 -m comment --comment "flanneld forward" -j ACCEPT
COMMIT
"""


def fate(save: str, chain: str, packet: Packet) -> Decision:
    return decide(iptables.parse(save)["filter"], chain, packet)


def test_a_policy_and_the_rules_before_it() -> None:
    dropped = fate(DOCKER.format(policy="DROP", more=""), "FORWARD", INNER)
    assert dropped == Decision(Fate.DROPPED, "policy drop")
    ours = "-A FORWARD -m comment --comment flanneld -j FLANNEL-FWD"
    assert fate(DOCKER.format(policy="DROP", more=ours), "FORWARD", INNER).fate is Fate.PASSES
    assert fate(DOCKER.format(policy="ACCEPT", more=""), "FORWARD", INNER).fate is Fate.PASSES
    before = f"-A FORWARD -i flannel.+ -j DROP\n{ours}"
    named = fate(DOCKER.format(policy="ACCEPT", more=before), "FORWARD", INNER)
    assert named == Decision(Fate.DROPPED, "-A FORWARD -i flannel.+ -j DROP")


@pytest.mark.parametrize(
    ("rule", "packet", "expected"),
    [
        ("-p udp -m udp --dport 8472 -j DROP", OUTER, Fate.DROPPED),
        ("-p udp -m udp --dport 8000:9000 -j REJECT --reject-with icmp-p-u", OUTER, Fate.DROPPED),
        ("-p udp -m multiport --dports 53,8472 -j DROP", OUTER, Fate.DROPPED),
        ("-p udp -m udp ! --dport 8472 -j DROP", OUTER, Fate.PASSES),
        ("-p udp -m udp --dport 8473: -j DROP", OUTER, Fate.PASSES),
        ("-p tcp -m tcp --dport 8472 -j DROP", OUTER, Fate.PASSES),
        ("-p 17 -j DROP", OUTER, Fate.DROPPED),
        ("-s 192.168.50.0/24 -j DROP", OUTER, Fate.DROPPED),
        ("! -s 192.168.50.0/24 -j DROP", OUTER, Fate.PASSES),
        ("-s 2001:db8::/32 -j DROP", OUTER, Fate.PASSES),
        ("-i eth0 -j DROP", OUTER, Fate.DROPPED),
        ("! -i eth0 -j DROP", OUTER, Fate.PASSES),
        ("-m conntrack --ctstate INVALID -j DROP", OUTER, Fate.PASSES),
        ("-m state --state NEW -j DROP", OUTER, Fate.DROPPED),
        ("-m mark --mark 0x8000/0x8000 -j DROP", OUTER, Fate.PASSES),
        ("-m mark ! --mark 0x8000/0x8000 -j DROP", OUTER, Fate.DROPPED),
        ("-m limit --limit 5/min -j DROP", OUTER, Fate.UNCERTAIN),
        ("-p tcp -m limit --limit 5/min -j DROP", OUTER, Fate.PASSES),
        ("-m set --match-set bad src -j DROP", OUTER, Fate.UNCERTAIN),
        ("-j LOG --log-prefix DROP", OUTER, Fate.PASSES),
        ("-j NFQUEUE --queue-num 1", OUTER, Fate.PASSES),
        ('-m comment --comment "a -j DROP" -j ACCEPT', OUTER, Fate.PASSES),
        ("-m mark --mark nonsense -j DROP", OUTER, Fate.UNCERTAIN),
    ],
)
def test_rules_of_iptables(rule: str, packet: Packet, expected: Fate) -> None:
    save = f"*filter\n:INPUT ACCEPT [0:0]\n-A INPUT {rule}\nCOMMIT\n"
    found = fate(save, "INPUT", packet)
    assert found.fate is expected
    if expected is Fate.DROPPED:
        assert found.text == f"-A INPUT {rule}"


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ("-j MARK --set-xmark 0x1/0xffffffff", Fate.UNCERTAIN),
        ("-j CONNMARK --restore-mark --nfmask 0xffffffff --ctmask 0xffffffff", Fate.UNCERTAIN),
        ("-j SET --map-set marks src --map-mark", Fate.UNCERTAIN),
        ("-j SET --add-set seen src", Fate.DROPPED),
        ("-m limit --limit 5/min -j MARK --set-xmark 0x1/0xffffffff", Fate.UNCERTAIN),
        ("-p tcp -j MARK --set-xmark 0x1/0xffffffff", Fate.DROPPED),
        ("-j MARKS", Fate.UNCERTAIN),
        ("-m limit --limit 5/min -j MARKS", Fate.UNCERTAIN),
        ("-p tcp -j MARKS", Fate.DROPPED),
    ],
)
@pytest.mark.parametrize("module", ["mark", "connmark"])
def test_a_mark_that_a_rule_has_set(before: str, module: str, expected: Fate) -> None:
    """As kube-router's chains do, of what a policy allows."""
    save = (
        "*filter\n:INPUT ACCEPT [0:0]\n:MARKS - [0:0]\n"
        "-A MARKS -i eth0 -j MARK --set-xmark 0x1/0xffffffff\n"
        f"-A INPUT {before}\n-A INPUT -m {module} ! --mark 0x1 -j DROP\nCOMMIT\n"
    )
    found = fate(save, "INPUT", OUTER)
    assert (found.fate, found.marks) == (expected, expected is Fate.UNCERTAIN)


def test_goto_does_not_come_back() -> None:
    save = (
        "*filter\n:INPUT DROP [0:0]\n:A - [0:0]\n:B - [0:0]\n"
        "-A INPUT {} A\n-A INPUT -j ACCEPT\n-A A -s 10.0.0.0/8 -j B\nCOMMIT\n"
    )
    assert fate(save.format("-g"), "INPUT", OUTER).fate is Fate.DROPPED
    assert fate(save.format("-j"), "INPUT", OUTER).fate is Fate.PASSES


def test_chains_that_call_each_other_end() -> None:
    jump = Rule((), Action.JUMP, "again", "a")
    chains = {"a": Chain([jump], hook="input", policy=Action.DROP)}
    assert decide(chains, "a", OUTER).fate is Fate.UNCERTAIN


def ruleset(*rules: list[dict[str, Any]], policy: str = "accept", **more: Any) -> nft.Tables:  # noqa: ANN401
    """One chain `in` of table inet t, as nft prints it."""
    where = {"family": "inet", "table": "t"}
    objects: list[dict[str, Any]] = [
        {"metainfo": {"version": "1.0.6"}},
        {"table": {"family": "inet", "name": "t"}},
        {"chain": {**where, "name": "in", "hook": "input", "type": "filter", "policy": policy}},
        {"chain": {**where, "name": "sub"}},
        *({"set": {**where, "name": name, "elem": elem}} for name, elem in more.items()),
        *(
            {"rule": {**where, "chain": "in", "handle": number, "expr": expr}}
            for number, expr in enumerate(rules, 1)
        ),
        {"rule": {**where, "chain": "sub", "handle": 99, "expr": [{"drop": None}]}},
    ]
    return nft.parse({"nftables": objects}, besides_iptables=True)


def match(left: dict[str, Any], right: Any, op: str = "==") -> dict[str, Any]:  # noqa: ANN401
    return {"match": {"op": op, "left": left, "right": right}}


def payload(protocol: str, field: str) -> dict[str, Any]:
    return {"payload": {"protocol": protocol, "field": field}}


DPORT = payload("udp", "dport")
SADDR = payload("ip", "saddr")
STATE = {"ct": {"key": "state"}}
DROP: dict[str, Any] = {"drop": None}


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ([match(DPORT, 8472), DROP], Fate.DROPPED),
        ([match(DPORT, 8472), {"counter": {"packets": 0, "bytes": 0}}, DROP], Fate.DROPPED),
        ([match(DPORT, {"set": [53, 8472]}), DROP], Fate.DROPPED),
        ([match(DPORT, {"range": [8000, 9000]}), DROP], Fate.DROPPED),
        ([match(DPORT, {"set": [{"range": [8000, 8100]}, 22]}), DROP], Fate.PASSES),
        ([match(payload("tcp", "dport"), 8472), DROP], Fate.PASSES),
        ([match(payload("tcp", "dport"), 8472, "!="), DROP], Fate.PASSES),
        ([match(payload("tcp", "dport"), 1024, "<"), DROP], Fate.PASSES),
        ([match(payload("tcp", "dport"), 1024, ">="), DROP], Fate.PASSES),
        ([match(payload("ip6", "saddr"), "fd00::1", "!="), DROP], Fate.PASSES),
        ([match(payload("ip6", "nexthdr"), "udp"), DROP], Fate.PASSES),
        ([match(payload("th", "dport"), 8472), DROP], Fate.DROPPED),
        ([match(DPORT, 8472, "!="), DROP], Fate.PASSES),
        ([match(DPORT, 8000, ">"), DROP], Fate.DROPPED),
        ([match(SADDR, {"prefix": {"addr": "192.168.0.0", "len": 16}}), DROP], Fate.DROPPED),
        ([match(SADDR, "@bad"), DROP], Fate.DROPPED),
        ([match(SADDR, "@unheard"), DROP], Fate.UNCERTAIN),
        ([match({"meta": {"key": "iifname"}}, "eth*"), DROP], Fate.DROPPED),
        ([match({"meta": {"key": "iifname"}}, "lo"), DROP], Fate.PASSES),
        ([match({"meta": {"key": "l4proto"}}, "udp"), DROP], Fate.DROPPED),
        ([match({"meta": {"key": "nfproto"}}, "ipv6"), DROP], Fate.PASSES),
        ([match(STATE, ["established", "related"], "in"), DROP], Fate.PASSES),
        ([match(STATE, "new", "in"), {"reject": {"type": "icmp"}}], Fate.DROPPED),
        ([match({"meta": {"key": "hour"}}, "7"), DROP], Fate.UNCERTAIN),
        ([{"limit": {"rate": 1}}, DROP], Fate.UNCERTAIN),
        ([{"jump": {"target": "sub"}}], Fate.DROPPED),
        ([match(DPORT, 1), {"goto": {"target": "sub"}}], Fate.PASSES),
        ([{"xt": {"type": "match", "name": "x"}}, DROP], Fate.PASSES),
        ([{"vmap": {"key": STATE, "data": {"set": [["invalid", DROP]]}}}], Fate.PASSES),
        ([{"vmap": {"key": DPORT, "data": {"set": [[8472, DROP]]}}}], Fate.DROPPED),
        (
            [{"vmap": {"key": DPORT, "data": {"set": [[8472, {"jump": {"target": "sub"}}]]}}}],
            Fate.DROPPED,
        ),
        ([{"vmap": {"key": DPORT, "data": "@named"}}], Fate.PASSES),
    ],
)
def test_rules_of_nft(expression: list[dict[str, Any]], expected: Fate) -> None:
    tables = ruleset(expression, bad=["192.168.50.2", "192.0.2.1"])
    assert decide(tables["inet", "t"], "in", OUTER).fate is expected


META, CT = ({kind: {"key": "mark"}} for kind in ("meta", "ct"))
NO_MARK = match(META, 1, "!=")


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ([[NO_MARK, DROP]], Fate.DROPPED),
        ([[match(CT, 1, "!="), DROP]], Fate.DROPPED),
        ([[{"mangle": {"key": META, "value": 1}}], [NO_MARK, DROP]], Fate.UNCERTAIN),
        ([[{"mangle": {"key": META, "value": CT}}], [NO_MARK, DROP]], Fate.UNCERTAIN),
        ([[{"mangle": {"key": CT, "value": 1}}], [match(CT, 1, "!="), DROP]], Fate.UNCERTAIN),
        ([[{"mangle": {"key": META, "value": 1}}, NO_MARK, DROP]], Fate.UNCERTAIN),
        ([[{"mangle": {"key": META, "value": 1}}, DROP]], Fate.DROPPED),
        (
            [[match(DPORT, 1), {"mangle": {"key": META, "value": 1}}], [NO_MARK, DROP]],
            Fate.DROPPED,
        ),
        (
            [[{"mangle": {"key": {"meta": {"key": "priority"}}, "value": 1}}], [NO_MARK, DROP]],
            Fate.DROPPED,
        ),
        (
            [
                [{"mangle": {"key": META, "value": 1}}],
                [{"vmap": {"key": META, "data": {"set": [[0, DROP]]}}}],
            ],
            Fate.UNCERTAIN,
        ),
    ],
)
def test_a_mark_that_nft_has_set(rules: list[list[dict[str, Any]]], expected: Fate) -> None:
    assert decide(ruleset(*rules)["inet", "t"], "in", OUTER).fate is expected


def test_a_policy_of_nft_and_the_rule_that_is_named() -> None:
    closed = ruleset(policy="drop")
    assert decide(closed["inet", "t"], "in", OUTER) == Decision(Fate.DROPPED, "policy drop")
    opened = ruleset([match(DPORT, 8472), {"accept": None}], policy="drop")
    assert decide(opened["inet", "t"], "in", OUTER).fate is Fate.PASSES
    named = ruleset([match(DPORT, 8472), DROP])
    assert decide(named["inet", "t"], "in", OUTER).text == "rule with handle 1"


def test_the_tables_of_iptables_nft_are_left_to_iptables() -> None:
    def chain(family: str, table: str) -> dict[str, Any]:
        hook = {"type": "filter", "hook": "input", "policy": "drop"}
        return {"chain": {"family": family, "table": table, "name": "INPUT", **hook}}

    found = (("ip", "filter"), ("inet", "filter"), ("ip6", "nat"), ("ip", "own"), ("arp", "filter"))
    document = {"nftables": [chain(*one) for one in found]}
    document = msgspec.json.decode(msgspec.json.encode(document))
    besides = nft.parse(document, besides_iptables=True)
    assert set(besides) == {("inet", "filter"), ("ip", "own")}
    assert set(nft.parse(document, besides_iptables=False)) == set(found) - {("arp", "filter")}
