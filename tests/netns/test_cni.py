# SPDX-License-Identifier: Apache-2.0
"""A rendered list run by the CNI plugins of containernetworking: Pods on three fwd nodes.

Excluded: one node's list in all its forms (test_cni_chain), a real runtime (test_cni_podman).
"""

import itertools
import subprocess
from collections.abc import Iterator
from ipaddress import ip_network

import pytest

from fwd.lab import netns
from fwd.lab.cni import Result
from tests.netns.cni_lab import (
    OUTSIDE,
    CniLab,
    Node,
    asked_from,
    built,
    server_in,
)
from tests.netns.cni_support import shown

pytestmark = [pytest.mark.netns, pytest.mark.root]


def pings(source: str, address: str, *options: str) -> bool:
    argv = netns.inside(source, "ping", "-q", "-c", "3", "-i", "0.05", "-W", "2", *options, address)
    return subprocess.run(argv, capture_output=True, timeout=20, check=False).returncode == 0


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CniLab]:
    with built(tmp_path_factory.mktemp("cni")) as made:
        yield made


@pytest.fixture(scope="module")
def results(lab: CniLab) -> list[Result]:
    """Of ADD: a Pod on each node, for the tests that only look."""
    return [node.runtime.add(node.pod) for node in lab.nodes]


def address_of(result: Result) -> str:
    return str(result["ips"][0]["address"]).partition("/")[0]


def test_the_plugins_speak_the_lists_version(lab: CniLab) -> None:
    lab.nodes[0].runtime.validate()


def test_each_pod_has_the_first_address_of_its_nodes_subnet(
    lab: CniLab, results: list[Result]
) -> None:
    for node, result in zip(lab.nodes, results, strict=True):
        subnet = ip_network(node.subnet)
        (given,) = result["ips"]
        assert given["address"] == f"{subnet[2]}/24"
        assert given["gateway"] == str(subnet[1])
        assert node.runtime.addresses() == [str(subnet[2])]
        (link,) = shown(node.sandbox, "addr", "show", "eth0")
        addresses = [one["local"] for one in link["addr_info"] if one["family"] == "inet"]
        assert addresses == [str(subnet[2])]
        assert link["mtu"] == 1450


def test_each_pod_has_routes_through_its_node(lab: CniLab, results: list[Result]) -> None:
    assert results
    for node in lab.nodes:
        gateway = str(ip_network(node.subnet)[1])
        routes = {one["dst"]: one.get("gateway") for one in shown(node.sandbox, "route")}
        assert routes == {"default": gateway, "10.244.0.0/16": gateway, node.subnet: None}


def test_the_bridge_is_the_gateway_and_its_ports_are_hairpins(
    lab: CniLab, results: list[Result]
) -> None:
    assert results
    for node in lab.nodes:
        (bridge,) = shown(node.namespace, "addr", "show", "cni0")
        assert bridge["mtu"] == 1450
        addresses = [one["local"] for one in bridge["addr_info"] if one["family"] == "inet"]
        assert addresses == [str(ip_network(node.subnet)[1])]
        (port,) = shown(node.namespace, "link", "show", "master", "cni0")
        assert port["linkinfo"]["info_slave_data"]["hairpin"] is True


def test_every_pod_reaches_every_other_over_fwd(lab: CniLab, results: list[Result]) -> None:
    both = list(zip(lab.nodes, results, strict=True))
    full = ("-M", "do", "-s", str(1450 - 28))
    for (source, _), (_, target) in itertools.permutations(both, 2):
        assert pings(source.sandbox, address_of(target))
        assert pings(source.sandbox, address_of(target), *full), "what fills the MTU"
    for (source, given), (node, target) in itertools.permutations(both, 2):
        with server_in(node.sandbox) as server:
            seen = asked_from(source.sandbox, address_of(target), server)
        assert seen == address_of(given), "with its own address"
    for (source, _), (_, target) in itertools.permutations(both, 2):
        assert pings(source.namespace, address_of(target)), "from a node itself"


@pytest.fixture(params=[0, 1, 2])
def target(request: pytest.FixtureRequest, lab: CniLab, results: list[Result]) -> Node:
    assert results
    number: int = request.param
    return lab.nodes[number]


def test_a_host_port_answers_on_the_nodes_address(lab: CniLab, target: Node) -> None:
    with server_in(target.sandbox) as server:
        for other in lab.nodes:
            if other is not target:
                seen = asked_from(other.namespace, target.address, server)
                assert seen == other.address, "the asker's own address"
        assert asked_from(lab.switch, target.address, server) == OUTSIDE


def test_a_host_port_answers_on_the_node_itself_and_in_the_pod(target: Node) -> None:
    gateway = str(ip_network(target.subnet)[1])
    with server_in(target.sandbox) as server:
        # Its own address would be the Pod's own as well, or not be routable: portmap masquerades.
        assert asked_from(target.sandbox, target.address, server) == gateway
        assert asked_from(target.namespace, "127.0.0.1", server) == gateway
        asked_from(target.namespace, target.address, server)


def test_a_host_port_is_that_of_its_own_node_only(lab: CniLab, results: list[Result]) -> None:
    assert results
    servers = [server_in(node.sandbox) for node in lab.nodes]
    try:
        for node, server in zip(lab.nodes, servers, strict=True):
            asked_from(lab.switch, node.address, server)
    finally:
        for server in servers:
            server.close()
