# SPDX-License-Identifier: Apache-2.0
"""Which masquerade and forward rules a node has to have: one table for both families.

How they are written for iptables and for nftables, and what to do where a node has others, is
`core.iptables` and `core.nftables`.  The two engines' rules are not quite the same (flannel spec
7.2 to 7.4): where they differ, the rule depends on the Dialect and says so.

Rules are kept whole: a chain of ours holds these rules, in this order, and nothing else.  So
nothing has to be remembered of a network or subnet that was before: its rules are foreign ones.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from ipaddress import ip_network

from msgspec import Struct

from fwd.model import IPV4, IPV6, Network

FAMILIES = (IPV4, IPV6)

MASQUERADED = 0x4000
"""The mark of packets that kube-proxy masquerades; twice made some kernels drop them (#1679)."""

TAPS: Mapping[int, str] = {IPV4: "fwd.", IPV6: "fwd-v6."}
"""How the names of the devices begin that the tunnel's own datagrams come out of."""

MULTICAST: Mapping[int, Network] = {IPV4: ip_network("224.0.0.0/4"), IPV6: ip_network("ff00::/8")}


class Dialect(Enum):
    """flannel's two rule sets."""

    IPTABLES = "iptables"
    NFTABLES = "nftables"


class Verdict(Enum):
    """What becomes of a packet that a rule matches."""

    ACCEPT = "accept"
    RETURN = "return"
    MASQUERADE = "masquerade"


class Match(Struct, frozen=True):
    """An address within network, or one that is not."""

    network: Network
    negated: bool = False


class Rule(Struct, frozen=True):
    """All of its matches must hold; without any, it is for every packet."""

    verdict: Verdict
    source: Match | None = None
    destination: Match | None = None
    interfaces: str = ""
    """What the name of the one it came through begins with; empty: any."""
    marked: bool = False
    """Only packets with the mark MASQUERADED."""


class Wanted(Struct, frozen=True):
    """What the operator asked for, and this node's place in the cluster.

    Networks and subnets by family, of the families that are on: flannel goes by the networks in
    net-conf.json alone, and then writes rules for the subnet ::/0 on a node without IPv6.
    """

    networks: Mapping[int, Network]
    subnets: Mapping[int, Network]
    masquerade: bool = False
    """--ip-masq"""
    forward: bool = True
    """--iptables-forward-rules"""
    random_fully: bool = True
    """Where the engine can; off: --ip-masq-fully-random-disable."""
    tunnel_gso: bool = False
    """--tunnel-gso: the tunnel's own datagrams are forwarded, too."""

    @property
    def families(self) -> tuple[int, ...]:
        """Those that have rules."""
        wanted = self.masquerade or self.forward
        return tuple(family for family in FAMILIES if wanted and family in self.networks)


class Kind(Enum):
    """What is wrong with a rule."""

    MISSING = "missing"
    DUPLICATE = "duplicate"
    MISPLACED = "misplaced"
    FOREIGN = "foreign"
    """Within a chain of ours."""
    STALE = "stale"
    """Ours, as an earlier flannel wrote it."""
    UNWANTED = "unwanted"
    """Ours, and not to be at all."""


class Finding(Struct, frozen=True):
    """One rule that is not as it should be."""

    where: str
    """Program, table and chain."""
    kind: Kind
    rule: str

    def __str__(self) -> str:
        return f"{self.kind.value} in {self.where}: {self.rule}"


class Transaction(Struct, frozen=True):
    """The text for one run of a program that does all of it or, per table, nothing."""

    text: str
    family: int | None = None
    """None: one program for both families."""


class Repair(Struct, frozen=True):
    """What is wrong, and what puts it right; both are empty where all is well."""

    findings: tuple[Finding, ...] = ()
    transactions: tuple[Transaction, ...] = ()


def masquerade_rules(network: Network, subnet: Network, dialect: Dialect) -> tuple[Rule, ...]:
    """A Pod's packets leave the cluster with the node's address, and stay as they are within it.

    The fourth rule is for what comes to Pods from outside the cluster, whose addresses they are to
    see.  nftables has it for every address of the cluster, so that its last rule is never reached.
    """
    local, cluster = Match(subnet), Match(network)
    outside = Match(network, negated=True)
    if dialect is Dialect.IPTABLES:
        incoming = Rule(Verdict.RETURN, outside, local)
    else:
        incoming = Rule(Verdict.RETURN, Match(subnet, negated=True), cluster)
    return (
        Rule(Verdict.RETURN, marked=True),
        Rule(Verdict.RETURN, local, cluster),
        Rule(Verdict.RETURN, cluster, local),
        incoming,
        Rule(Verdict.MASQUERADE, cluster, Match(MULTICAST[network.version], negated=True)),
        Rule(Verdict.MASQUERADE, outside, cluster),
    )


def forward_rules(network: Network) -> tuple[Rule, ...]:
    """What is to or from a Pod is forwarded, where the policy is to drop."""
    return (
        Rule(Verdict.ACCEPT, source=Match(network)),
        Rule(Verdict.ACCEPT, destination=Match(network)),
    )


def wanted_masquerade(wanted: Wanted, family: int, dialect: Dialect) -> tuple[Rule, ...]:
    """Empty: no chain."""
    if not wanted.masquerade or family not in wanted.networks:
        return ()
    return masquerade_rules(wanted.networks[family], wanted.subnets[family], dialect)


def wanted_forward(wanted: Wanted, family: int) -> tuple[Rule, ...]:
    """Empty: no chain."""
    if not wanted.forward or family not in wanted.networks:
        return ()
    rules = forward_rules(wanted.networks[family])
    if wanted.tunnel_gso:
        rules += (Rule(Verdict.ACCEPT, interfaces=TAPS[family]),)
    return rules


def compare(wanted: Sequence[str], actual: Sequence[str], *, where: str) -> Iterator[Finding]:
    """Every rule of a chain of ours that keeps it from being the wanted one; none: it is.

    A text may be wanted twice: where the subnet is all of the network, the rules to and from Pods
    are the same.  Then any two of them will do.
    """
    surplus = Counter(actual)
    there = []
    for rule in wanted:
        if surplus[rule]:
            surplus[rule] -= 1
            there.append(rule)
        else:
            yield Finding(where, Kind.MISSING, rule)
    for rule, count in surplus.items():
        kind = Kind.DUPLICATE if rule in wanted else Kind.FOREIGN
        yield from (Finding(where, kind, rule) for _ in range(count))
    for rule, instead in zip(there, _first(Counter(there), actual), strict=True):
        if rule != instead:
            yield Finding(where, Kind.MISPLACED, instead)


def _first(counts: Counter[str], rules: Sequence[str]) -> Iterator[str]:
    """So many of each, in the order of rules; what comes after them is left out."""
    left = counts.copy()
    for rule in rules:
        if left[rule]:
            left[rule] -= 1
            yield rule
