# SPDX-License-Identifier: Apache-2.0
"""A rendered list run by the CNI plugins of containernetworking: Pods on three fwd nodes.

One lab with both families; each test looks at one of them.

Excluded: one node's list in all its forms (test_cni_chain), a real runtime (test_cni_podman).
"""

import itertools
import subprocess
from collections.abc import Iterator
from ipaddress import ip_interface
from typing import Any, Final

import pytest

from fwd.lab import netns
from fwd.lab.cni import Result
from fwd.lab.familyplan import FAMILY_PLANS
from tests.netns import frames
from tests.netns.agent_support import EACH_FAMILY, FACTS
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

LINK_LOCAL: Final = "fe80:"


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


def given(result: Result, family: int) -> Any:  # noqa: ANN401 - JSON
    """What it says of the Pod's address."""
    return next(one for one in result["ips"] if ip_interface(one["address"]).version == family)


def address_of(result: Result, family: int) -> str:
    return str(given(result, family)["address"]).partition("/")[0]


def addresses_on(namespace: str, device: str, family: int) -> list[str]:
    """Those that are not of the link alone."""
    (link,) = shown(namespace, f"-{family}", "addr", "show", device)
    return [str(one["local"]) for one in link["addr_info"] if one.get("scope") == "global"]


def test_the_plugins_speak_the_lists_version(lab: CniLab) -> None:
    lab.nodes[0].runtime.validate()


@EACH_FAMILY
def test_each_pod_has_the_first_address_of_its_nodes_subnet(
    lab: CniLab, results: list[Result], family: int
) -> None:
    for node, result in zip(lab.nodes, results, strict=True):
        subnet = node.subnet(family)
        assert len(result["ips"]) == len(FACTS)
        assert given(result, family)["address"] == f"{subnet[2]}/{subnet.prefixlen}"
        assert given(result, family)["gateway"] == str(subnet[1])
        assert str(subnet[2]) in node.runtime.addresses()
        assert len(node.runtime.addresses()) == len(FACTS)
        assert addresses_on(node.sandbox, "eth0", family) == [str(subnet[2])]
        (link,) = shown(node.sandbox, "link", "show", "eth0")
        assert link["mtu"] == 1450


@EACH_FAMILY
def test_each_pod_has_routes_through_its_node(
    lab: CniLab, results: list[Result], family: int
) -> None:
    assert results
    network = str(FAMILY_PLANS[family].cluster)
    for node in lab.nodes:
        subnet = node.subnet(family)
        gateway = str(subnet[1])
        routes = {
            one["dst"]: one.get("gateway")
            for one in shown(node.sandbox, f"-{family}", "route")
            if not one["dst"].startswith(LINK_LOCAL)
        }
        assert routes == {"default": gateway, network: gateway, str(subnet): None}


@EACH_FAMILY
def test_the_bridge_is_the_gateway_and_its_ports_are_hairpins(
    lab: CniLab, results: list[Result], family: int
) -> None:
    assert results
    for node in lab.nodes:
        assert addresses_on(node.namespace, "cni0", family) == [str(node.subnet(family)[1])]
        (bridge,) = shown(node.namespace, "link", "show", "cni0")
        assert bridge["mtu"] == 1450
        (port,) = shown(node.namespace, "link", "show", "master", "cni0")
        assert port["linkinfo"]["info_slave_data"]["hairpin"] is True


@EACH_FAMILY
def test_every_pod_reaches_every_other_over_fwd(
    lab: CniLab, results: list[Result], family: int
) -> None:
    both = list(zip(lab.nodes, results, strict=True))
    full = ("-M", "do", "-s", str(FACTS[family].mtu - frames.HEADER[family] - 8))
    for (source, _), (_, target) in itertools.permutations(both, 2):
        assert pings(source.sandbox, address_of(target, family))
        assert pings(source.sandbox, address_of(target, family), *full), "what fills the MTU"
    for (source, own), (node, target) in itertools.permutations(both, 2):
        with server_in(node.sandbox, family) as server:
            seen = asked_from(source.sandbox, address_of(target, family), server)
        assert seen == address_of(own, family), "with its own address"
    for (source, _), (_, target) in itertools.permutations(both, 2):
        assert pings(source.namespace, address_of(target, family)), "from a node itself"


@pytest.fixture(params=[0, 1, 2])
def target(request: pytest.FixtureRequest, lab: CniLab, results: list[Result]) -> Node:
    assert results
    number: int = request.param
    return lab.nodes[number]


@EACH_FAMILY
def test_a_host_port_answers_on_the_nodes_address(lab: CniLab, target: Node, family: int) -> None:
    address = target.address(family)
    with server_in(target.sandbox, family) as server:
        for other in lab.nodes:
            if other is not target:
                seen = asked_from(other.namespace, address, server)
                assert seen == other.address(family), "the asker's own address"
        assert asked_from(lab.switch, address, server) == OUTSIDE[family]


@EACH_FAMILY
def test_a_host_port_answers_on_the_node_itself_and_in_the_pod(target: Node, family: int) -> None:
    gateway, address = str(target.subnet(family)[1]), target.address(family)
    with server_in(target.sandbox, family) as server:
        # Its own address would be the Pod's own as well, or not be routable: portmap masquerades.
        assert asked_from(target.sandbox, address, server) == gateway
        if family == 4:  # no kernel routes IPv6's loopback address, and portmap leaves it alone
            assert asked_from(target.namespace, "127.0.0.1", server) == gateway
        asked_from(target.namespace, address, server)


@EACH_FAMILY
def test_a_host_port_is_that_of_its_own_node_only(
    lab: CniLab, results: list[Result], family: int
) -> None:
    assert results
    servers = [server_in(node.sandbox, family) for node in lab.nodes]
    try:
        for node, server in zip(lab.nodes, servers, strict=True):
            asked_from(lab.switch, node.address(family), server)
    finally:
        for server in servers:
            server.close()
