# SPDX-License-Identifier: Apache-2.0
"""Which leases can be in force together, and what changed."""

import re
import time
from collections.abc import Iterable, Mapping
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from fwd.core.leases import Delta, LeaseBook
from fwd.model import Address, ConfigError, Lease, Network
from tests.unit.in_family import EACH_FAMILY, FAMILIES, said

pytestmark = EACH_FAMILY

NETWORKS = {family: said(family, ip_network("10.244.0.0/16")) for family in FAMILIES}


def lease(number: int, family: int, **changes: Any) -> Lease:  # noqa: ANN401
    """The lease of node nX; changes are said in IPv4."""
    made = Lease(
        node=f"n{number}",
        subnet=IPv4Network((0x0AF40000 + (number << 8), 24)),
        public_ip=IPv4Address(0xC0A80000 + number),
        vtep_mac=b"\x02\0" + number.to_bytes(4),
        vni=1,
    )
    return said(family, replace(made, **changes))


def book(family: int, own: Lease | None = None, *, lenient: bool = False) -> LeaseBook:
    """In which all is refused for the sake of one, or each is judged by itself."""
    networks = {family: NETWORKS[family]}
    return LeaseBook(
        [own or lease(1, family)], networks=networks, vni=1, all_or_nothing=not lenient
    )


def of_nobody(networks: Mapping[int, Network] = NETWORKS) -> LeaseBook:
    return LeaseBook([], networks=networks, vni=1, all_or_nothing=False)


def found(leases: Iterable[Lease], *families: int) -> list[str]:
    """Why which leases are refused where each is judged by itself."""
    ours = of_nobody({family: NETWORKS[family] for family in families})
    ours.replace(leases)
    return [refusal.reason for refusal in ours.refused]


def test_good_leases_have_no_fault(family: int) -> None:
    assert found((lease(number, family) for number in range(1, 200)), family) == []


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"subnet": ip_network("10.245.2.0/24")}, "node n2: subnet 10.245.2.0/24 is outside the"),
        ({"subnet": ip_network("fc00::/64")}, "node n2: subnet fc00::/64: IPv6 is not enabled"),
        ({"public_ip": ip_address("::1")}, "node n2: public-ip ::1 is not of the family"),
        ({"public_ip": ip_address("0.0.0.0")}, "node n2: public-ip 0.0.0.0 is not the address"),
        ({"public_ip": ip_address("224.0.0.1")}, "node n2: public-ip 224.0.0.1 is not the address"),
        ({"public_ip": ip_address("255.255.255.255")}, "node n2: public-ip 255.255.255.255 is not"),
        (
            {"public_ip": ip_address("10.244.9.9")},
            "node n2: public-ip 10.244.9.9 is inside the net",
        ),
        ({"vtep_mac": bytes(6)}, "node n2: VtepMAC 00:00:00:00:00:00 is zero"),
        ({"vtep_mac": b"\x01\0\x5e\0\0\1"}, "node n2: VtepMAC 01:00:5e:00:00:01 is a multicast"),
        ({"vni": 7}, "node n2: VNI 7, but net-conf.json says 1"),
        (
            {"subnet": ip_network("10.244.3.128/25")},
            "subnets 10.244.3.128/25 of node n2 and 10.244.3.0/24 of node n3 overlap",
        ),
        (
            {"subnet": ip_network("10.244.2.0/23")},
            "subnets 10.244.2.0/23 of node n2 and 10.244.3.0/24",
        ),
        (
            {"public_ip": lease(3, 4).public_ip},
            "nodes n2 and n3 have one public-ip, 192.168.0.3; if one is gone, delete it",
        ),
        ({"vtep_mac": lease(3, 4).vtep_mac}, "nodes n2 and n3 have one VtepMAC, 02:00:00:00:00:03"),
        ({"node": "n3"}, "node n3 has two IPv4 leases, 10.244.2.0/24 and 10.244.3.0/24"),
    ],
)
def test_a_contradiction_is_named(family: int, changes: dict[str, Any], says: str) -> None:
    leases = [lease(1, family), lease(2, family, **changes), lease(3, family)]
    (fault,) = found(leases, family)
    assert fault.startswith(said(family, says))


@pytest.mark.parametrize("length", [31, 32])
def test_a_subnet_without_room_for_pods_is_the_peers_own_affair(family: int, length: int) -> None:
    """flannel looks at ranges in etcd mode only.  Our own Pods would have no addresses."""
    small = lease(2, family, subnet=ip_network(f"10.244.2.0/{length}"))
    assert small.subnet.prefixlen == length + (96 if family == 6 else 0)
    assert not found([lease(1, family), small, lease(3, family)], family)
    with pytest.raises(ConfigError, match=rf"^node n2: subnet \S+/{small.subnet.prefixlen} has no"):
        book(family, small, lenient=True).replace([lease(3, family)])


@pytest.mark.parametrize(
    ("ours", "theirs", "is_refused"),
    [
        (100000, 34464, False),
        (100000, 100000, False),
        (100000, 34465, True),
        (34464, 100000, True),
        (65536, 0, False),
        (1, 65537, True),
    ],
)
def test_older_flannel_published_sixteen_bits_of_the_vni(
    family: int,
    ours: int,
    theirs: int,
    is_refused: bool,  # noqa: FBT001 - a row of the table
) -> None:
    judge = LeaseBook([], networks=NETWORKS, vni=ours, all_or_nothing=False)
    judge.replace([lease(2, family, vni=theirs)])
    assert bool(judge.refused) is is_refused


def test_a_subnet_that_contains_the_network_is_outside_of_it(family: int) -> None:
    around = ip_network("10.244.0.0/14")
    first, *_ = found([lease(1, family), lease(2, family, subnet=around)], family)
    says = f"node n2: subnet {around} is outside the network 10.244.0.0/16"
    assert first == said(family, says)


def test_both_families_of_a_node_fit_together(family: int) -> None:
    assert not found([lease(1, family), lease(1, 10 - family), lease(2, 10 - family)], *FAMILIES)


SUBNETS = st.builds(
    lambda host, length: IPv4Network((0x0AF40000 + host, length), strict=False),
    st.integers(0, 2**10 - 1),
    st.integers(24, 30),
)


@given(st.lists(SUBNETS, max_size=12))
def test_overlaps_are_found_as_asking_all_earlier_ones_finds_them(
    family: int,
    subnets: list[IPv4Network],
) -> None:
    leases = [lease(number, family, subnet=subnet) for number, subnet in enumerate(subnets, 1)]
    accepted: list[Lease] = []
    for one in leases:
        if not any(one.subnet.overlaps(other.subnet) for other in accepted):
            accepted.append(one)
    ours = of_nobody()
    ours.replace(leases)
    assert ours.leases == tuple(accepted)
    refused = {refusal.node for refusal in ours.refused}
    assert refused == {one.node for one in leases if one not in accepted}
    for refusal in ours.refused:
        named = [
            one for one in accepted if f"{one.subnet} of node {one.node} and" in refusal.reason
        ]
        assert named, "with whom it overlaps is told, and that is one in force"


@pytest.mark.parametrize(
    "change",
    [
        {"subnet": lease(2, 4).subnet},
        {"subnet": ip_network("10.244.2.64/26")},
        {"subnet": ip_network("10.244.2.0/23")},
        {"public_ip": lease(2, 4).public_ip},
        {"vtep_mac": lease(2, 4).vtep_mac},
        {"vni": 9},
    ],
)
def test_what_a_newcomer_claims_stays_with_who_has_it(family: int, change: dict[str, Any]) -> None:
    ours = book(family, lenient=True)
    ours.replace([lease(2, family), lease(3, family, **change), lease(4, family)])
    assert ours.leases == (lease(2, family), lease(4, family))
    assert [refusal.node for refusal in ours.refused] == ["n3"]
    ours.replace([lease(3, family, **change), lease(4, family)])
    assert len(ours) == (1 if "vni" in change else 2), "it gets it when the other is gone"


def test_what_a_refused_lease_claims_is_free_for_others(family: int) -> None:
    ours = of_nobody()
    ours.replace([lease(2, family, vni=7), lease(3, family, public_ip=lease(2, family).public_ip)])
    assert [one.node for one in ours.leases] == ["n3"]


def test_no_other_node_takes_anything_from_this_one(family: int) -> None:
    ours = book(family, lenient=True)
    own = lease(1, family)
    ours.replace([lease(2, family, subnet=own.subnet), lease(3, family, public_ip=own.public_ip)])
    assert not ours.leases
    assert [refusal.node for refusal in ours.refused] == ["n2", "n3"]


def test_an_own_lease_that_cannot_be_is_an_error_in_either_mode(family: int) -> None:
    ours = book(family, lease(1, family, vni=9), lenient=True)
    with pytest.raises(ConfigError, match="node n1: VNI 9"):
        ours.replace([lease(2, family)])


def test_the_own_lease_is_filtered_on_the_way_in(family: int) -> None:
    """A second snapshot must not report it as removed, as flannel's does (lease.go, Reset)."""
    ours = book(family)
    assert ours.replace([lease(1, family), lease(2, family)]) == Delta(added=1)
    assert ours.leases == (lease(2, family),)
    assert ours.replace([lease(1, family), lease(2, family)]) == Delta()
    assert ours.replace([lease(2, family)]) == Delta()


@pytest.mark.parametrize(
    "change", [{"public_ip": ip_address("192.168.9.9")}, {"vtep_mac": b"\x02\0\0\0\0\x99"}]
)
def test_a_peer_that_keeps_its_subnet_has_changed_all_the_same(
    family: int, change: dict[str, Any]
) -> None:
    """flannel compares subnets only after a lost watch, and misses this."""
    ours = book(family)
    ours.replace([lease(2, family), lease(3, family)])
    assert ours.replace([lease(2, family, **change), lease(3, family)]) == Delta(changed=1)


def test_a_subnet_that_moves_to_another_node(family: int) -> None:
    ours = book(family)
    ours.replace([lease(2, family)])
    moved = lease(3, family, subnet=lease(2, family).subnet)
    assert ours.replace([moved]) == Delta(added=1, removed=1)


@given(st.lists(st.tuples(st.integers(2, 9), st.integers(0, 2)), max_size=8), st.data())
def test_the_delta_is_that_of_comparing_one_by_one(
    family: int, before: list[tuple[int, int]], data: st.DataObject
) -> None:
    after = data.draw(st.lists(st.tuples(st.integers(2, 9), st.integers(0, 2)), max_size=8))
    old, new = dict(before), dict(after)

    def leases(of: dict[int, int]) -> list[Lease]:
        return [lease(n, family, vtep_mac=bytes([2, v, 0, 0, 0, n])) for n, v in of.items()]

    ours = book(family)
    ours.replace(leases(old))
    assert ours.replace(leases(new)) == Delta(
        added=len([n for n in new if n not in old]),
        removed=len([n for n in old if n not in new]),
        changed=len([n for n in new if n in old and new[n] != old[n]]),
    )


def test_a_refused_snapshot_changes_nothing(family: int) -> None:
    ours = book(family)
    ours.replace([lease(2, family)])
    taken = lease(2, family).vtep_mac
    with pytest.raises(ConfigError, match=r"^2 mistakes, the first: node n3: VNI 7, .*$"):
        ours.replace([lease(2, family), lease(3, family, vni=7), lease(4, family, vtep_mac=taken)])
    assert ours.leases == (lease(2, family),)


def test_peers_are_checked_against_the_own_lease_too(family: int) -> None:
    says = re.escape(said(family, "subnets 10.244.1.0/24 of node n1 and"))
    with pytest.raises(ConfigError, match=says):
        book(family).replace([lease(2, family, subnet=ip_network("10.244.1.128/25"))])


def test_65536_leases_cost_a_sort_not_all_pairs(family: int) -> None:
    """All pairs would be two thousand million; the bound only tells these apart."""
    ours = LeaseBook([], networks={family: said(family, ip_network("10.0.0.0/8"))}, vni=1)
    leases = [anywhere(number, family) for number in range(65_536)]
    begin = time.monotonic()
    assert ours.replace(leases) == Delta(added=65_536)
    assert ours.replace(leases[::-1]) == Delta()
    assert time.monotonic() - begin < 20


def anywhere(number: int, family: int) -> Lease:
    """Of 65,536 nodes; not said in IPv4, for that takes longer than what is measured."""
    subnet: Network = IPv4Network((0x0A000000 + (number << 8), 24))
    outer: Address = IPv4Address(0xAC100000 + number)
    if family == 6:
        subnet = IPv6Network(((0xFD00_0244_0000_0000 + number) << 64, 64))
        outer = IPv6Address((0xFD02 << 112) + 1 + number)
    mac = b"\x02\0" + number.to_bytes(4)
    return Lease(node=f"n{number}", subnet=subnet, public_ip=outer, vtep_mac=mac, vni=1)
