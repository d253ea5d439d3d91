# SPDX-License-Identifier: Apache-2.0
"""What the lab tells the kernel, as text.  Excluded: that the kernel takes it (tests/netns)."""

import pytest

from fwd.lab import congestion, kernelnode, nodes, underlay
from fwd.lab.steps import Step, Tool
from fwd.lab.topology import Source, Spec, Topology, node_specs, plan


@pytest.fixture
def lab() -> Topology:
    return plan(Spec(prefix="t", nodes=node_specs(fwd=1, kernel=2), source=Source.KUBE))


@pytest.fixture
def dual() -> Topology:
    return plan(Spec(prefix="t", nodes=node_specs(fwd=0, kernel=2), families=(4, 6)))


def lines(steps: list[Step]) -> list[str]:
    return [f"{step.tool.value} {step.line}" for step in steps]


def test_the_vxlan_device_is_flannels(lab: Topology) -> None:
    # flannel spec 5.1: nolearning, local, dstport, MAC at creation, MTU - 50, /32; up comes last.
    assert lines(kernelnode.vtep(lab, lab.nodes[2])) == [
        (
            "ip link add flannel.1 mtu 1450 address 02:00:00:00:00:03 type vxlan id 1"
            " dev eth0 local 192.168.50.3 dstport 8472 nolearning"
        ),
        "sysctl net/ipv6/conf/flannel.1/accept_ra=0",
        "ip addr add 10.244.3.0/32 dev flannel.1",
        "ip link set flannel.1 up",
    ]


def test_a_peer_is_neighbour_then_fdb_then_route(lab: Topology) -> None:
    # flannel spec 5.3, in this order.
    assert lines(kernelnode.add_peers(kernelnode.of_topology(lab, [lab.nodes[0]]))) == [
        "ip neigh replace 10.244.1.0 lladdr 02:00:00:00:00:01 nud permanent dev flannel.1",
        "bridge fdb replace 02:00:00:00:00:01 dev flannel.1 dst 192.168.50.1 self permanent",
        "ip route replace 10.244.1.0/24 via 10.244.1.0 dev flannel.1 onlink",
    ]


def test_many_peers_take_one_run_of_each_tool(lab: Topology) -> None:
    peers = kernelnode.of_topology(lab, lab.peers(lab.nodes[2]))
    tools = [step.tool for step in kernelnode.add_peers(peers)]
    assert tools == [Tool.IP, Tool.IP, Tool.BRIDGE, Tool.BRIDGE, Tool.IP, Tool.IP]


def test_what_a_peer_added_is_taken_back_in_the_same_order(lab: Topology) -> None:
    [peer] = kernelnode.of_topology(lab, [lab.nodes[0]])
    assert lines(kernelnode.remove_peer(peer)) == [
        "ip neigh del 10.244.1.0 dev flannel.1",
        "bridge fdb del 02:00:00:00:00:01 dev flannel.1 dst 192.168.50.1 self",
        "ip route del 10.244.1.0/24 via 10.244.1.0 dev flannel.1 onlink",
    ]


def test_the_second_family_has_its_own_device_and_underlay(dual: Topology) -> None:
    text = "\n".join(lines(kernelnode.vtep(dual, dual.nodes[0])))
    assert "ip link add flannel-v6.1 mtu 1450" in text
    assert "local fd00:50::1 " in text
    assert "ip addr add fd00:10:244:1::/128 dev flannel-v6.1 nodad" in text
    peers = "\n".join(lines(kernelnode.add_peers(kernelnode.of_topology(dual, dual.nodes[1:]))))
    assert "dev flannel-v6.1 dst fd00:50::2 self permanent" in peers
    assert "ip route replace fd00:10:244:2::/64 via fd00:10:244:2:: dev flannel-v6.1" in peers


def test_a_node_forwards_each_of_its_families(lab: Topology, dual: Topology) -> None:
    assert "sysctl net/ipv4/ip_forward=1" in lines(nodes.host(lab))
    assert not any("ipv6" in line for line in lines(nodes.host(lab)))
    assert "sysctl net/ipv6/conf/all/forwarding=1" in lines(nodes.host(dual))


def test_a_pods_port_hairpins_and_has_the_pod_mtu(lab: Topology) -> None:
    assert lines(nodes.attach(lab, lab.nodes[0].pods[0])) == [
        "ip link add veth1 mtu 1450 type veth peer name eth0 mtu 1450 netns t-n1-p1",
        "ip link set veth1 master cni0 up",
        "ip link set veth1 type bridge_slave hairpin on",
    ]


def test_a_pod_has_a_default_route_once_its_link_is_up(lab: Topology) -> None:
    assert lines(nodes.pod(lab, lab.nodes[0].pods[0])) == [
        "ip addr add 10.244.1.2/24 dev eth0",
        "ip link set eth0 up",
        "ip route add default via 10.244.1.1",
    ]


def test_a_pods_routes_to_other_nodes_pods_choose_cubic(dual: Topology) -> None:
    assert lines(congestion.cubic(dual, dual.nodes[0].pods[0])) == [
        "ip route replace 10.244.0.0/16 via 10.244.1.1 dev eth0 congctl cubic",
        "ip route replace fd00:10:244::/48 via fd00:10:244:1::1 dev eth0 congctl cubic",
    ]


def test_the_gateway_is_on_cni0(lab: Topology) -> None:
    assert "ip addr add 10.244.1.1/24 dev cni0" in lines(nodes.bridge(lab, lab.nodes[0]))


def test_the_switch_has_an_address_where_the_api_server_listens(lab: Topology) -> None:
    assert "ip addr add 192.168.50.254/24 dev br0" in lines(underlay.switch(lab))
    static = plan(Spec(prefix="t", nodes=lab.spec.nodes, source=Source.STATIC))
    assert not [line for line in lines(underlay.switch(static)) if "addr add" in line]


def test_the_underlay_has_the_mtu_that_was_asked_for() -> None:
    lab = plan(Spec(prefix="t", nodes=node_specs(fwd=1, kernel=0), mtu=9000))
    text = lines(underlay.switch(lab)) + lines(underlay.plug(lab, lab.nodes[0]))
    assert [line.count("mtu 9000") for line in text if "link add" in line] == [1, 2]
    assert "peer name eth0 mtu 9000 address 02:00:00:01:00:01 netns t-n1" in text[-2]
    assert lines(underlay.uplink(lab, lab.nodes[0])) == [
        "ip addr add 192.168.50.1/24 dev eth0",
        "ip link set eth0 up",
    ]
