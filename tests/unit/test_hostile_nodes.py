# SPDX-License-Identifier: Apache-2.0
"""Node objects of somebody who may write any: each is refused by name, and the others go on.

From the bytes of a list to the leases in force, as `sources.kube` puts the parts together.
"""

import json
from collections.abc import Iterable
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from msgspec.structs import replace

from fwd.core.leases import LeaseBook
from fwd.core.nodetable import NodeTable
from fwd.core.nodewire import Changed
from fwd.model import Lease, Refusal
from fwd.ops.refusals import MOST_LINES, RefusalLog
from tests.unit.in_family import EACH_FAMILY, said
from tests.unit.kube_support import decoder, node_object

NETWORK = ip_network("10.244.0.0/16")
OWN = Lease(
    node="own",
    subnet=ip_network("10.244.250.0/24"),
    public_ip=ip_address("192.168.50.1"),
    vtep_mac=b"\x02\1\0\0\0\xfa",
    vni=1,
)
GOOD = 3
"""Honest nodes n1, n2 and n3, created before all others."""


def book_of(family: int) -> LeaseBook:
    networks = {family: said(family, NETWORK)}
    return LeaseBook([said(family, OWN)], networks=networks, vni=1, all_or_nothing=False)


def in_force(family: int, objects: Iterable[object]) -> tuple[LeaseBook, tuple[Refusal, ...]]:
    """What becomes of a list of Nodes, which is said in IPv4."""
    objects = said(family, list(objects))
    text = json.dumps({"kind": "NodeList", "metadata": {"resourceVersion": "9"}, "items": objects})
    page = decoder.page(text.encode())
    table = NodeTable(families=[family], vni=1)
    table.replace(page.nodes, version="9")
    book = book_of(family)
    book.replace(table.leases())
    return book, table.refusals() + book.refused


def honest() -> list[dict[str, Any]]:
    return [node_object(number, created="2026-01-01T00:00:00Z") for number in range(1, 1 + GOOD)]


def evil(number: int = 66, **changes: Any) -> dict[str, Any]:  # noqa: ANN401
    return node_object(number, created="2026-06-01T00:00:00Z", name="evil", **changes)


def with_annotation(name: str, value: object) -> dict[str, Any]:
    made = evil()
    made["metadata"]["annotations"]["flannel.alpha.coreos.com/" + name] = value
    return made


HOSTILE: dict[str, dict[str, Any]] = {
    "our subnet": evil(cidr="10.244.250.0/24"),
    "a part of our subnet": evil(cidr="10.244.250.128/25"),
    "a subnet around ours": evil(cidr="10.244.192.0/18"),
    "another's subnet": evil(cidr="10.244.2.0/24"),
    "everything": evil(cidr="0.0.0.0/0"),
    "the cluster's network": evil(cidr="10.244.0.0/16"),
    "the underlay's network": evil(cidr="192.168.50.0/24"),
    "the API server's address": evil(cidr="192.168.50.10/32"),
    "the Services' network": evil(cidr="10.96.0.0/12"),
    "loopback": evil(cidr="127.0.0.0/8"),
    "one address of another's": evil(cidr="10.244.2.9/32"),
    "no subnet at all": evil(cidr="banana"),
    "a subnet of the other family": evil(cidr="fd00::/64"),
    "our address": evil(public_ip="192.168.50.1"),
    "another's address": evil(public_ip="192.168.0.2"),
    "a Pod's address": evil(public_ip="10.244.1.7"),
    "multicast": evil(public_ip="224.0.0.1"),
    "broadcast": evil(public_ip="255.255.255.255"),
    "no address": evil(public_ip="0.0.0.0"),
    "this host": evil(public_ip="127.0.0.1"),
    "an address of 100,000 characters": evil(public_ip="1" * 100_000),
    "our MAC": evil(backend_data='{"VNI":1,"VtepMAC":"02:01:00:00:00:fa"}'),
    "another's MAC": evil(backend_data='{"VNI":1,"VtepMAC":"02:00:00:00:00:02"}'),
    "a group MAC": evil(backend_data='{"VNI":1,"VtepMAC":"01:00:5e:00:00:01"}'),
    "no MAC": evil(backend_data='{"VNI":1,"VtepMAC":"00:00:00:00:00:00"}'),
    "another VNI": evil(backend_data='{"VNI":4096,"VtepMAC":"02:00:00:00:00:42"}'),
    "a VNI beyond all": evil(backend_data='{"VNI":1e400,"VtepMAC":"02:00:00:00:00:42"}'),
    "data that is no JSON": evil(backend_data="{" * 50_000),
    "data of another shape": evil(backend_data='[["VNI"]]'),
    "an annotation of ten megabytes": with_annotation("backend-data", "x" * 10_000_000),
    "an annotation that is a list": with_annotation("public-ip", ["192.168.0.66"]),
    "an annotation that is an object": with_annotation("public-ip", {"a": {"b": 1}}),
    "an annotation that is a number": with_annotation("backend-data", 7),
    "a spec that is a text": evil() | {"spec": "none"},
    "CIDRs that are a number": evil() | {"spec": {"podCIDR": 7, "podCIDRs": 8}},
    "a thousand CIDRs": evil(
        spec={"podCIDR": "", "podCIDRs": [f"10.244.{i % 256}.0/24" for i in range(1000)]}
    ),
}


@EACH_FAMILY
@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_node_is_refused_by_name_and_the_others_go_on(family: int, what: str) -> None:
    book, refused = in_force(family, [*honest(), HOSTILE[what]])
    assert {lease.node for lease in book.leases} == {"n1", "n2", "n3"}
    assert {one.node for one in refused} == {"evil"}
    assert all(len(one.reason) < 1000 for one in refused), "a line of a log"


@EACH_FAMILY
def test_all_of_them_at_once_change_nothing_for_the_others(family: int) -> None:
    objects = [
        one | {"metadata": one["metadata"] | {"name": f"evil{i}"}}
        for i, one in enumerate(HOSTILE.values())
    ]
    book, refused = in_force(family, [*objects, *honest()])
    assert {lease.node for lease in book.leases} == {"n1", "n2", "n3"}
    assert {one.node for one in refused} == {f"evil{i}" for i in range(len(HOSTILE))}


@EACH_FAMILY
@pytest.mark.parametrize("thing", [7, None, "node", [], {}, {"metadata": 1}, {"metadata": {}}])
def test_what_is_not_even_an_object_is_left_out(family: int, thing: object) -> None:
    book, _ = in_force(family, [*honest(), thing])
    assert len(book) == GOOD


def test_a_hundred_thousand_nodes(caplog: pytest.LogCaptureFixture) -> None:
    """Decoded once, for the bytes of each are alike; so is their public-ip, which one may have."""
    table = NodeTable(families=[4], vni=1)
    (sample,) = decoder.page(json.dumps({"metadata": {}, "items": [evil()]}).encode()).nodes
    assert isinstance(sample, Changed)
    crowd = [
        replace(
            sample,
            node=replace(
                sample.node, name=f"evil{i}", pod_cidrs=(f"10.244.{i >> 8 & 255}.{i & 255}/32",)
            ),
        )
        for i in range(100_000)
    ]
    table.replace(crowd)
    for good in honest():
        table.apply(decoder.node(json.dumps(good).encode()))
    book = book_of(4)
    book.replace(table.leases())
    assert len(book) == GOOD + 1
    refused = table.refusals() + book.refused
    assert len(refused) == len(crowd) - 1
    told = RefusalLog()
    with caplog.at_level("INFO"):
        told.tell(refused)
        told.tell(refused)
        told.tell(())
    assert len(caplog.records) <= 2 * MOST_LINES + 1
