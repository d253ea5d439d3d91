# SPDX-License-Identifier: Apache-2.0
"""What the kernel holds after a start is what it holds after flannel's, byte for byte."""

from collections.abc import Iterator
from ipaddress import ip_network

import pytest

from fwd.core.rules import Kind, Wanted
from fwd.model import IPV4
from fwd.node.rules.iptables import Iptables
from fwd.node.rules.keeper import choose_engine
from fwd.node.rules.nftables import Nftables
from tests.netns.names import own
from tests.netns.rules_support import (
    BACK_ENDS,
    ENGINES,
    OTHERS_PAYLOAD,
    Node,
    golden,
    namespace,
    restore,
    write_as_flannel,
)
from tests.unit.rules_model import BOTH, CASES, NETWORKS, SUBNETS, V0_11, V0_11_FORWARD

pytestmark = pytest.mark.netns


@pytest.fixture
def node() -> Iterator[Node]:
    with namespace(own("rt-node")) as name:
        yield Node(name)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("engine", ENGINES)
def test_a_start_leaves_flannels_dump(node: Node, engine: str, case: str) -> None:
    kept = node.keeper(engine, CASES[case])
    found = kept.install()
    assert node.dump(engine) == golden(engine, case)
    assert {finding.kind for finding in found} <= {Kind.MISSING}
    assert kept.install() == kept.check() == []


@pytest.mark.parametrize("engine", ENGINES)
def test_programs_without_random_fully(node: Node, engine: str) -> None:
    kept = node.keeper(engine)
    match kept.keeper.engine:
        case Iptables() as found:
            found.modern = False
        case Nftables() as found:
            found.random_fully = False
    kept.install()
    assert node.dump(engine) == golden(engine, "masq-forward-plain")


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("engine", ENGINES)
def test_what_flannel_wrote_is_taken_over_as_it_is(node: Node, engine: str, case: str) -> None:
    write_as_flannel(node, engine, case)
    before = node.run("nft", "-a", "list", "ruleset")  # handles: nothing was made anew
    kept = node.keeper(engine, CASES[case])
    assert kept.install() == kept.check() == []
    assert node.run("nft", "-a", "list", "ruleset") == before
    assert node.dump(engine) == golden(engine, case)


@pytest.mark.parametrize("engine", ENGINES)
def test_other_flags_leave_what_a_first_start_with_them_leaves(node: Node, engine: str) -> None:
    kept = node.keeper(engine)
    for case in (*CASES, *reversed(CASES)):
        kept.change(CASES[case])
        assert node.dump(engine) == golden(engine, case)


@pytest.mark.parametrize("engine", ENGINES)
def test_another_network_or_subnet_recycles_the_old_rules(node: Node, engine: str) -> None:
    old = {IPV4: ip_network("10.9.0.0/16")}
    for before in (
        Wanted(old, {IPV4: ip_network("10.9.3.0/24")}, masquerade=True),
        Wanted(NETWORKS, SUBNETS | {IPV4: ip_network("10.244.9.0/24")}, masquerade=True),
    ):
        node.keeper(engine, before).install()
        assert node.dump(engine) != golden(engine)
        node.keeper(engine).install()
        assert node.dump(engine) == golden(engine)


@pytest.mark.parametrize("engine", ENGINES)
def test_an_ipv4_cluster_has_no_rules_of_ipv6(node: Node, engine: str) -> None:
    """Also not those of an earlier start; but flannel has both tables of nft in any case."""
    kept = node.keeper(engine)
    kept.install()
    kept.change(Wanted({IPV4: NETWORKS[IPV4]}, {IPV4: SUBNETS[IPV4]}, masquerade=True))
    wanted, nothing = golden(engine), golden(engine, "none")
    at = "table ip6" if engine == "nftables" else "$ ip6tables"
    assert node.dump(engine) == wanted.partition(at)[0] + at + nothing.partition(at)[2]


@pytest.mark.parametrize("engine", BACK_ENDS)
def test_rules_of_v0_11_go(node: Node, engine: str) -> None:
    payload = "*nat\n" + "".join(f"-A POSTROUTING {rule}\n" for rule in V0_11) + "COMMIT\n"
    payload += "*filter\n" + "".join(f"-A FORWARD {rule}\n" for rule in V0_11_FORWARD) + "COMMIT\n"
    restore(node, engine, payload)
    found = node.keeper(engine).install()
    assert [finding.rule for finding in found if finding.kind is Kind.STALE] == [
        *V0_11_FORWARD,
        *V0_11,
    ]
    assert node.dump(engine) == golden(engine)


@pytest.mark.parametrize("engine", BACK_ENDS)
def test_rules_with_flannels_comment_in_a_built_in_chain_go(node: Node, engine: str) -> None:
    """As flannel wrote them from v0.12 to v0.19."""
    rule = '-s 10.244.0.0/16 -m comment --comment "flanneld forward" -j ACCEPT'
    restore(node, engine, f"*filter\n-A FORWARD {rule}\nCOMMIT\n")
    kept = node.keeper(engine)
    assert [finding for finding in kept.install() if finding.kind is Kind.STALE]
    restore(node, engine, f"*filter\n-A FORWARD {rule}\nCOMMIT\n")
    assert [finding.kind for finding in kept.check()] == [Kind.STALE]
    assert node.dump(engine) == golden(engine)


@pytest.mark.parametrize("engine", BACK_ENDS)
def test_the_jump_comes_last_and_others_rules_stay(node: Node, engine: str) -> None:
    restore(node, engine, OTHERS_PAYLOAD)
    before = node.dump(engine).splitlines()
    node.keeper(engine).install()
    after = node.dump(engine).splitlines()
    ours = set(golden(engine).splitlines()) - set(golden(engine, "none").splitlines())
    assert [line for line in after if line not in ours] == before
    at = next(i for i, line in enumerate(after) if line.endswith("-j FLANNEL-POSTRTG"))
    assert after[at - 1].endswith("-j KUBE-POSTROUTING")


@pytest.mark.parametrize("engine", BACK_ENDS)
def test_kubelets_hint_decides_the_back_end(node: Node, engine: str) -> None:
    restore(node, engine, "*mangle\n:KUBE-KUBELET-CANARY - [0:0]\nCOMMIT\n")
    for other in BACK_ENDS:
        restore(node, other, OTHERS_PAYLOAD if other != engine else "*nat\nCOMMIT\n")
    chosen = node.do(lambda: choose_engine(nft=False, families=BOTH.families))
    assert chosen.name == engine
