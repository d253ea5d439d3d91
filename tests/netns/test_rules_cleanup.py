# SPDX-License-Identifier: Apache-2.0
"""Nothing of ours is left by a cleanup or in an engine that is not used any more.

What "nothing" means where iptables' programs leave built-in chains behind: Node.everything.
"""

from collections.abc import Iterator
from itertools import permutations

import pytest

from fwd.core import nftables
from fwd.node.rules import keeper
from tests.netns.names import own
from tests.netns.rules_support import (
    BACK_ENDS,
    ENGINES,
    OTHERS_NFT,
    OTHERS_PAYLOAD,
    Node,
    golden,
    namespace,
    restore,
    write_as_flannel,
)
from tests.unit.rules_model import V0_11, V0_11_FORWARD

pytestmark = pytest.mark.netns


@pytest.fixture
def node() -> Iterator[Node]:
    """With others' rules of all kinds in it."""
    with namespace(own("rt-node")) as name:
        node = Node(name)
        node.run("nft", "-f", "-", stdin=OTHERS_NFT)
        for back_end in BACK_ENDS:
            restore(node, back_end, OTHERS_PAYLOAD)
            restore(node, back_end, OTHERS_PAYLOAD, command="ip6tables")
        yield node


def clean_all(node: Node, *, dry_run: bool = False) -> list[str]:
    return [str(found) for found in node.do(lambda: keeper.clean_all(dry_run=dry_run))]


def switch(node: Node, engine: str) -> None:
    """As the agent does at its start."""
    kept = node.keeper(engine)
    kept.install()
    node.do(lambda: keeper.clean_others(kept.keeper.engine))


def test_everything_tells_a_rule_from_what_touching_makes() -> None:
    """The measure itself."""
    with namespace(own("rt-node")) as name:
        node = Node(name)
        nothing = node.everything()
        assert not any(nothing.values())
        for back_end in BACK_ENDS:
            restore(node, back_end, "*nat\nCOMMIT\n*filter\nCOMMIT\n")
        assert node.everything() == nothing
        for payload in (":X - [0:0]", ":FORWARD DROP [0:0]", "-A FORWARD -j ACCEPT"):
            for back_end in BACK_ENDS:
                restore(node, back_end, f"*filter\n{payload}\nCOMMIT\n")
                assert node.everything() != nothing, payload
                undo = ["-F FORWARD", ":FORWARD ACCEPT [0:0]", ":X - [0:0]", "-X X"]
                restore(node, back_end, "*filter\n" + "\n".join(undo) + "\nCOMMIT\n")
                assert node.everything() == nothing
        node.run("nft", "add", "table", "ip", "flannel-ipv4")
        assert node.everything() != nothing


@pytest.mark.parametrize("engine", ENGINES)
def test_a_removal_leaves_all_as_before_the_first_start(node: Node, engine: str) -> None:
    before = node.everything()
    kept = node.keeper(engine)
    kept.install()
    installed = node.everything()
    assert installed != before
    listed = kept.remove(dry_run=True)
    assert node.everything() == installed
    assert kept.remove() == listed != []
    assert node.everything() == before
    assert kept.remove() == []


def test_a_cleanup_is_of_all_engines(node: Node) -> None:
    before = node.everything()
    for engine in ENGINES:
        node.keeper(engine).install()
    installed = node.everything()
    listed = clean_all(node, dry_run=True)
    assert node.everything() == installed
    for engine in BACK_ENDS:
        for line in golden(engine).splitlines():
            if line.startswith("-A"):
                assert [one for one in listed if one.endswith(line.split(" ", 2)[2])], line
    for table in nftables.TABLES.values():
        assert f"unwanted in nft: table {table}" in listed
    assert clean_all(node) == listed
    assert node.everything() == before
    assert clean_all(node) == []


def test_a_cleanup_where_nothing_is_makes_no_table() -> None:
    with namespace(own("rt-node")) as name:
        node = Node(name)
        assert clean_all(node) == []
        assert node.run("nft", "list", "ruleset") == ""
        assert node.run("cat", "/proc/net/ip_tables_names", "/proc/net/ip6_tables_names") == ""


@pytest.mark.parametrize(("first", "second"), [*permutations(ENGINES, 2)])
def test_a_switch_leaves_the_new_engines_rules_alone(node: Node, first: str, second: str) -> None:
    """Back and forth; the first time it is stock flannel whose rules are there."""
    write_as_flannel(node, first)
    switch(node, second)
    after = node.everything()
    clean_all(node)
    node.keeper(second).install()
    assert node.everything() == after
    switch(node, first)
    switch(node, second)
    assert node.everything() == after


@pytest.mark.parametrize("engine", BACK_ENDS)
def test_a_switch_removes_what_flannels_own_leaves(node: Node, engine: str) -> None:
    """Jumps to emptied chains, accept rules in the filter table, and v0.11's (spec 7.5)."""
    before = node.everything()
    write_as_flannel(node, engine)
    payload = "*nat\n-F FLANNEL-POSTRTG\n"
    payload += "".join(f"-A POSTROUTING {rule}\n" for rule in V0_11) + "COMMIT\n"
    payload += "*filter\n" + "".join(f"-A FORWARD {rule}\n" for rule in V0_11_FORWARD)
    payload += ":ELSEWHERE - [0:0]\n-A ELSEWHERE -g FLANNEL-FWD\nCOMMIT\n"
    restore(node, engine, payload)
    chosen = node.engine("nftables")
    node.do(lambda: keeper.clean_others(chosen))
    restore(node, engine, "*filter\n-X ELSEWHERE\nCOMMIT\n")
    assert node.everything() == before


@pytest.mark.parametrize("engine", ENGINES)
def test_a_dry_run_of_a_switch(node: Node, engine: str) -> None:
    for other in ENGINES:
        node.keeper(other).install()
    before = node.everything()
    chosen = node.engine(engine)
    listed = node.do(lambda: keeper.clean_others(chosen, dry_run=True))
    assert node.everything() == before
    assert node.do(lambda: keeper.clean_others(chosen)) == listed != []
    assert node.everything() != before
