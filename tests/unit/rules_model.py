# SPDX-License-Identifier: Apache-2.0
"""What the tests of rules share: the cluster of the golden files, and a model of iptables-restore.

The model is strict: what the real one refuses, it refuses.  States and twins are of one table.
"""

from collections.abc import Sequence
from ipaddress import ip_network
from pathlib import Path

from hypothesis import strategies as st

from fwd.core import iptables
from fwd.core.iptables import Part
from fwd.core.rules import Wanted
from fwd.model import IPV4, IPV6, Network

GOLDEN = Path(__file__).parents[1] / "golden" / "rules"
"""Written by flannel's own commands, which its sources name (spec 7.2, 7.3); not by fwd."""

NETWORKS: dict[int, Network] = {
    IPV4: ip_network("10.244.0.0/16"),
    IPV6: ip_network("2001:cafe:42::/56"),
}
SUBNETS: dict[int, Network] = {
    IPV4: ip_network("10.244.1.0/24"),
    IPV6: ip_network("2001:cafe:42:1::/64"),
}

CASES = {
    "masq-forward": Wanted(NETWORKS, SUBNETS, masquerade=True),
    "masq-forward-plain": Wanted(NETWORKS, SUBNETS, masquerade=True, random_fully=False),
    "masq-forward-ipv6": Wanted({IPV6: NETWORKS[IPV6]}, {IPV6: SUBNETS[IPV6]}, masquerade=True),
    "masq": Wanted(NETWORKS, SUBNETS, masquerade=True, forward=False),
    "forward": Wanted(NETWORKS, SUBNETS),
    "none": Wanted(NETWORKS, SUBNETS, forward=False),
}
"""By the name of the golden file, after the engine's."""

BOTH = CASES["masq-forward"]
ALONE = Wanted(NETWORKS, NETWORKS, masquerade=True)
"""The node's subnet is the whole network: two of its rules are the same text."""

Table = dict[str, list[str]]

KUBE_PROXY = '-m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING'
OTHERS = (
    KUBE_PROXY,
    "-j CNI-HOSTPORT-MASQ",
    "-s 172.17.0.0/16 ! -o docker0 -j MASQUERADE",
    '-m comment --comment "about FLANNEL-POSTRTG" -j KUBE-POSTROUTING',
    '-m comment --comment "not flanneld masq" -j KUBE-POSTROUTING',
)
"""What other agents have in a built-in chain, some of it close to ours."""
OTHER_CHAINS = ("KUBE-POSTROUTING", "CNI-HOSTPORT-MASQ")

V0_11 = (
    "-s 10.244.0.0/16 -d 10.244.0.0/16 -j RETURN",
    "-s 10.244.0.0/16 ! -d 224.0.0.0/4 -j MASQUERADE --random-fully",
    "! -s 10.244.0.0/16 -d 10.244.1.0/24 -j RETURN",
    "! -s 10.244.0.0/16 -d 10.244.0.0/16 -j MASQUERADE --random-fully",
)
V0_11_FORWARD = ("-s 10.244.0.0/16 -j ACCEPT", "-d 10.244.0.0/16 -j ACCEPT")


def rules_of(part: Part, wanted: Wanted = BOTH, family: int = IPV4) -> list[str]:
    return iptables.wanted_rules(part, wanted, family, random_fully=True)


def sections(text: str) -> dict[str, str]:
    """A golden file of iptables: what each command line printed."""
    parts = text.split("$ ")[1:]
    return {part.partition("\n")[0]: part.partition("\n")[2] for part in parts}


def installed(part: Part, wanted: Wanted = BOTH) -> Table:
    """All as it must be, among others' rules."""
    table: Table = {chain: ["-j RETURN"] for chain in OTHER_CHAINS}
    table[part.builtin] = [OTHERS[0], part.jump, OTHERS[1]]
    table[part.chain] = rules_of(part, wanted)
    return table


def stale_rules(part: Part) -> tuple[str, ...]:
    """What counts as ours in a built-in chain though it is not the jump."""
    return (
        f'-s 10.9.0.0/16 -m comment --comment "{part.comment}" -j ACCEPT',
        f"-j {part.chain}",
        f'-m comment --comment "by hand" -g {part.chain}',
    )


def restore(table: Table, lines: Sequence[str]) -> Table:
    """What `iptables-restore --noflush` makes of a table."""
    made = {chain: list(rules) for chain, rules in table.items()}
    for line in lines:
        word, _, rest = line.partition(" ")
        chain, _, rule = rest.partition(" ")
        if line.startswith(":"):
            made[word[1:]] = []
        elif word == "-A":
            assert _known(made, rule), f"a jump to a chain that is not there: {line}"
            made[chain].append(rule)
        elif word == "-D":
            made[chain].remove(rule)
        elif word == "-F":
            made[chain].clear()
        elif word == "-X":
            assert not made[chain], "not empty"
            used = [rule for rules in made.values() for rule in rules if target(rule) == chain]
            assert not used, "still in use"
            del made[chain]
        else:
            raise AssertionError(line)
    return made


def target(rule: str) -> str:
    words = rule.split()
    return words[-1] if len(words) > 1 and words[-2] in ("-j", "-g") else ""


def _known(table: Table, rule: str) -> bool:
    return target(rule) in ("RETURN", "ACCEPT", "MASQUERADE", "", *table)


def whole_v0_11(part: Part, table: Table) -> tuple[str, ...]:
    """v0.11's rules where all of them are there."""
    return V0_11 if set(V0_11) <= set(table[part.builtin]) else ()


def twin(part: Part, table: Table, *, wanted: Wanted = BOTH, behind: Sequence[str] = ()) -> Table:
    """What a repair must leave, said in the plainest way: others' rules, and ours.

    behind: what the jump was behind before.
    """
    builtin = [
        rule
        for rule in table[part.builtin]
        if rule not in (part.jump, *stale_rules(part), *whole_v0_11(part, table))
    ]
    if part.jump not in table[part.builtin]:
        builtin.append(part.jump)
    else:  # the last one stays, where it is among the others
        at = len(table[part.builtin]) - 1 - table[part.builtin][::-1].index(part.jump)
        before = [rule for rule in table[part.builtin][:at] if rule in builtin]
        moved = any(rule in behind and rule not in before for rule in builtin)
        builtin.insert(len(builtin) if moved else len(before), part.jump)
    return table | {part.builtin: builtin, part.chain: rules_of(part, wanted)}


def twin_without(part: Part, table: Table) -> Table:
    """The same for a removal."""
    ours = (part.jump, *stale_rules(part), *whole_v0_11(part, table))
    left = {
        chain: [
            rule
            for rule in rules
            if not (chain == part.builtin and rule in ours) and target(rule) != part.chain
        ]
        for chain, rules in table.items()
    }
    left.pop(part.chain, None)
    return left


@st.composite
def disturbed(draw: st.DrawFn, part: Part, wanted: Wanted = BOTH) -> Table:
    """What is left of our rules after people and programs have been at them."""
    table = installed(part, wanted)
    for _ in range(draw(st.integers(0, 6))):
        chain = draw(st.sampled_from([part.builtin, part.chain]))
        if chain not in table:
            continue
        rules = table[chain]
        at = draw(st.integers(0, len(rules)))
        foreign = OTHERS if chain == part.chain else (*OTHERS, *stale_rules(part))
        match draw(st.sampled_from(["delete", "double", "move", "insert", "drop", "v0.11"])):
            case "delete" if at < len(rules):
                del rules[at]
            case "double" if at < len(rules):
                rules.insert(draw(st.integers(0, len(rules))), rules[at])
            case "move" if at < len(rules):
                rule = rules.pop(at)
                rules.insert(draw(st.integers(0, len(rules))), rule)
            case "insert":
                rules.insert(at, draw(st.sampled_from(foreign)))
            case "v0.11" if part is iptables.MASQUERADE:
                table[part.builtin][0:0] = V0_11
            case "drop":
                table.pop(part.chain, None)
    if part.chain not in table:  # then nothing can lead to it
        kept = [rule for rule in table[part.builtin] if target(rule) != part.chain]
        table[part.builtin] = kept
    return table
