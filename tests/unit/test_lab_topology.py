# SPDX-License-Identifier: Apache-2.0
"""The lab's plan: names, addresses, MACs.  Excluded: what is made of it (test_lab_steps)."""

from dataclasses import dataclass
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwd.lab import topology
from fwd.lab.familyplan import FAMILY_PLANS
from fwd.lab.topology import MAX_INDEX, NodeKind, NodeSpec, Spec, node_specs, plan

SPEC = Spec(prefix="t", nodes=node_specs(fwd=2, kernel=1), pods=2)

indexes = st.integers(1, MAX_INDEX)
families = st.sampled_from(sorted(FAMILY_PLANS))


def test_fwd_nodes_come_first() -> None:
    kinds = [(node.name, node.kind) for node in plan(SPEC).nodes]
    assert kinds == [("n1", NodeKind.FWD), ("n2", NodeKind.FWD), ("n3", NodeKind.KERNEL)]


def test_addresses_are_those_a_cni_bridge_would_give() -> None:
    plan4 = FAMILY_PLANS[4]
    assert str(plan4.node(3)) == "192.168.50.3/24"
    assert str(plan4.subnet(3)) == "10.244.3.0/24"
    assert str(plan4.vtep(3)) == "10.244.3.0"
    assert str(plan4.gateway(3)) == "10.244.3.1/24"
    assert str(plan4.pod(3, 1)) == "10.244.3.2/24"
    plan6 = FAMILY_PLANS[6]
    assert str(plan6.node(3)) == "fd00:50::3/64"
    assert str(plan6.subnet(3)) == "fd00:10:244:3::/64"
    assert str(plan6.vtep(3)) == "fd00:10:244:3::"
    assert str(plan6.pod(3, 1)) == "fd00:10:244:3::2/64"


@given(families, indexes, st.integers(1, topology.MAX_PODS))
def test_every_address_is_in_its_network_and_there_once(family: int, index: int, pod: int) -> None:
    plan = FAMILY_PLANS[family]
    subnet = plan.subnet(index)
    assert plan.family == family
    assert plan.node(index).ip in plan.underlay
    assert subnet.version == family
    assert subnet.overlaps(plan.cluster)
    assert subnet.prefixlen == plan.subnet_length
    assert plan.pod(index, pod).network == plan.gateway(index).network == subnet
    assert len({plan.vtep(index), plan.gateway(index).ip, plan.pod(index, pod).ip}) == 3


@given(families, st.lists(indexes, min_size=2, unique=True))
def test_no_two_nodes_overlap(family: int, chosen: list[int]) -> None:
    subnets = sorted(FAMILY_PLANS[family].subnet(index) for index in chosen)
    assert not any(one.overlaps(other) for one, other in pairwise(subnets))


def test_no_two_nodes_share_a_mac_and_each_is_local_unicast() -> None:
    nodes = plan(Spec(prefix="t", nodes=node_specs(fwd=MAX_INDEX, kernel=0))).nodes
    macs = [node.mac for node in nodes]
    assert len(set(macs)) == MAX_INDEX
    assert all(int(mac[:2], 16) & 3 == 2 for mac in macs)
    assert all(mac == mac.lower() for mac in macs)


def test_indexes_need_not_be_contiguous() -> None:
    nodes = (NodeSpec(2, NodeKind.FWD), NodeSpec(7, NodeKind.KERNEL))
    found = plan(Spec(prefix="t", nodes=nodes))
    assert found.namespaces == ("t-switch", "t-n2", "t-n2-p1", "t-n7", "t-n7-p1")
    assert [peer.name for peer in found.peers(found.nodes[0])] == ["n7"]


def test_nodes_join_where_there_is_room_and_leave_a_gap() -> None:
    spec = topology.without_node(SPEC, "n2")
    assert [node.index for node in spec.nodes] == [1, 3]
    last = topology.with_node(spec, "n7", NodeKind.KERNEL)
    full = topology.with_node(last, None, NodeKind.FWD)
    assert [node.name for node in plan(full).nodes] == ["n1", "n2", "n3", "n7"]
    assert plan(full).node("n7") == plan(last).nodes[-1]
    assert plan(full).node("n4") is None


@pytest.mark.parametrize("name", ["n1", "n0", "n07", "7", "nx", "n1-p1", "switch", ""])
def test_a_node_that_cannot_join_is_refused_by_name(name: str) -> None:
    with pytest.raises(ValueError, match=r"no name of a node|already"):
        topology.with_node(SPEC, name, NodeKind.FWD)


def test_the_api_servers_address_is_no_nodes() -> None:
    found = plan(SPEC)
    assert found.control_address == "192.168.50.254"
    assert FAMILY_PLANS[4].control.ip not in {FAMILY_PLANS[4].node(i).ip for i in range(1, 251)}


def test_a_dual_stack_lab_has_a_plan_for_each_family() -> None:
    found = plan(msgspec.structs.replace(SPEC, families=(4, 6)))
    assert [plan.family for plan in found.plans] == [4, 6]


def test_pods_get_the_underlay_less_fifty() -> None:
    assert plan(msgspec.structs.replace(SPEC, mtu=9000)).pod_mtu == 8950


def test_names_lead_to_namespaces() -> None:
    found = plan(SPEC)
    assert found.namespace_of("n1") == "t-n1"
    assert found.namespace_of("n3-p2") == "t-n3-p2"
    assert found.namespace_of("switch") == "t-switch"
    assert found.namespace_of("n4") is None


def test_a_lab_owns_its_namespaces_and_no_others() -> None:
    found = plan(SPEC)
    assert all(topology.owns("t", name) for name in found.namespaces)
    for other in ("tt-n1", "t-n1-p1-x", "t-n", "t-nx", "t-bench", "t", "t-n1\n", "x-t-n1"):
        assert not topology.owns("t", other), other


@dataclass(frozen=True)
class Refused:
    """A spec that cannot be built, and the word that says why."""

    word: str
    prefix: str = "t"
    nodes: tuple[NodeSpec, ...] = SPEC.nodes
    pods: int = 1
    mtu: int = 1500
    families: tuple[int, ...] = (4,)


@pytest.mark.parametrize(
    "refused",
    [
        Refused("prefix", prefix="a-b"),
        Refused("prefix", prefix=""),
        Refused("prefix", prefix="a" * 17),
        Refused("prefix", prefix="../x"),
        Refused("at least one", nodes=()),
        Refused("at most", nodes=(NodeSpec(MAX_INDEX + 1, NodeKind.FWD),)),
        Refused("of its own", nodes=(NodeSpec(1, NodeKind.FWD), NodeSpec(1, NodeKind.KERNEL))),
        Refused("Pods", pods=0),
        Refused("Pods", pods=201),
        Refused("MTU", mtu=1329),
        Refused("MTU", mtu=65536),
        Refused("families", families=(6, 4)),
    ],
)
def test_what_cannot_be_built_is_refused_by_name(refused: Refused) -> None:
    spec = Spec(refused.prefix, refused.nodes, refused.pods, refused.mtu, refused.families)
    with pytest.raises(ValueError, match=refused.word) as error:
        plan(spec)
    assert "\n" not in str(error.value)
