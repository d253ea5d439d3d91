# SPDX-License-Identifier: Apache-2.0
"""Which leases can be in force together, and what changed."""

import time
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address, ip_network
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from fwd.core.leases import Delta, LeaseBook, faults
from fwd.model import IPV4, ConfigError, Lease

NETWORK = ip_network("10.244.0.0/16")
NETWORKS = {IPV4: NETWORK}


def lease(number: int, **changes: Any) -> Lease:  # noqa: ANN401
    """The lease of node nX; X up to 65,534, in a network of 10.0.0.0/8 from 256 on."""
    made = Lease(
        node=f"n{number}",
        subnet=IPv4Network((0x0AF40000 + (number << 8), 24)),
        public_ip=IPv4Address(0xC0A80000 + number),
        vtep_mac=b"\x02\0" + number.to_bytes(4),
        vni=1,
    )
    return replace(made, **changes)


def book(own: Lease | None = None) -> LeaseBook:
    return LeaseBook([own or lease(1)], networks=NETWORKS, vni=1)


def found(leases: Iterable[Lease]) -> list[str]:
    return list(faults(leases, networks=NETWORKS, vni=1))


def test_good_leases_have_no_fault() -> None:
    assert found(lease(number) for number in range(1, 200)) == []


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"subnet": ip_network("10.245.2.0/24")}, "node n2: subnet 10.245.2.0/24 is outside the"),
        ({"subnet": ip_network("10.244.2.0/31")}, "node n2: subnet 10.244.2.0/31 has no room"),
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
            "subnets 10.244.3.0/24 of node n3 and 10.244.3.",
        ),
        ({"subnet": ip_network("10.244.2.0/23")}, "subnets 10.244.2.0/23 of node n2 and 10.244.3."),
        ({"public_ip": lease(3).public_ip}, "nodes n2 and n3 have one public-ip, 192.168.0.3"),
        ({"vtep_mac": lease(3).vtep_mac}, "nodes n2 and n3 have one VtepMAC, 02:00:00:00:00:03"),
        ({"node": "n3"}, "node n3 has two IPv4 leases, 10.244.2.0/24 and 10.244.3.0/24"),
    ],
)
def test_a_contradiction_is_named(changes: dict[str, Any], says: str) -> None:
    (fault,) = found([lease(1), lease(2, **changes), lease(3)])
    assert fault.startswith(says)


def test_a_subnet_that_contains_the_network_is_outside_of_it() -> None:
    first, *_ = found([lease(1), lease(2, subnet=ip_network("10.244.0.0/14"))])
    assert first == "node n2: subnet 10.244.0.0/14 is outside the network 10.244.0.0/16"


def test_both_families_of_a_node_fit_together() -> None:
    both = [
        lease(1),
        lease(1, subnet=IPv6Network("fc00:0:0:1::/64"), public_ip=ip_address("fd::1")),
    ]
    assert not list(faults(both, networks=NETWORKS | {6: ip_network("fc00::/48")}, vni=1))


SUBNETS = st.builds(
    lambda host, length: IPv4Network((0x0AF40000 + host, length), strict=False),
    st.integers(0, 2**10 - 1),
    st.integers(24, 30),
)


@given(st.lists(SUBNETS, max_size=12))
def test_overlaps_are_found_as_a_comparison_of_all_pairs_finds_them(
    subnets: list[IPv4Network],
) -> None:
    leases = [lease(number, subnet=subnet) for number, subnet in enumerate(subnets, 1)]
    involved = {
        lease.node
        for first, second in combinations(leases, 2)
        if first.subnet.overlaps(second.subnet)
        for lease in (first, second)
    }
    told = found(leases)
    assert bool(told) == bool(involved)
    named = {word for fault in told for word in fault.split() if word.startswith("n")}
    assert named & {lease.node for lease in leases} == involved


def test_the_own_lease_is_filtered_on_the_way_in() -> None:
    """A second snapshot must not report it as removed, as flannel's does (lease.go, Reset)."""
    ours = book()
    assert ours.replace([lease(1), lease(2)]) == Delta(added=1)
    assert ours.leases == (lease(2),)
    assert ours.replace([lease(1), lease(2)]) == Delta()
    assert ours.replace([lease(2)]) == Delta()


@pytest.mark.parametrize(
    "change", [{"public_ip": ip_address("192.168.9.9")}, {"vtep_mac": b"\x02\0\0\0\0\x99"}]
)
def test_a_peer_that_keeps_its_subnet_has_changed_all_the_same(change: dict[str, Any]) -> None:
    """flannel compares subnets only after a lost watch, and misses this."""
    ours = book()
    ours.replace([lease(2), lease(3)])
    assert ours.replace([lease(2, **change), lease(3)]) == Delta(changed=1)


def test_a_subnet_that_moves_to_another_node() -> None:
    ours = book()
    ours.replace([lease(2)])
    assert ours.replace([replace(lease(3), subnet=lease(2).subnet)]) == Delta(added=1, removed=1)


@given(st.lists(st.tuples(st.integers(2, 9), st.integers(0, 2)), max_size=8), st.data())
def test_the_delta_is_that_of_comparing_one_by_one(
    before: list[tuple[int, int]], data: st.DataObject
) -> None:
    after = data.draw(st.lists(st.tuples(st.integers(2, 9), st.integers(0, 2)), max_size=8))
    old, new = dict(before), dict(after)

    def leases(of: dict[int, int]) -> list[Lease]:
        return [lease(n, vtep_mac=bytes([2, v, 0, 0, 0, n])) for n, v in of.items()]

    ours = book()
    ours.replace(leases(old))
    assert ours.replace(leases(new)) == Delta(
        added=len([n for n in new if n not in old]),
        removed=len([n for n in old if n not in new]),
        changed=len([n for n in new if n in old and new[n] != old[n]]),
    )


def test_a_refused_snapshot_changes_nothing() -> None:
    ours = book()
    ours.replace([lease(2)])
    with pytest.raises(ConfigError, match=r"node n3: VNI 7, .* \(and 1 more\)$"):
        ours.replace([lease(2), lease(3, vtep_mac=lease(2).vtep_mac, vni=7)])
    assert ours.leases == (lease(2),)


def test_peers_are_checked_against_the_own_lease_too() -> None:
    with pytest.raises(ConfigError, match=r"subnets 10\.244\.1\.0/24 of node n1 and"):
        book().replace([lease(2, subnet=ip_network("10.244.1.128/25"))])


def test_65536_leases_cost_a_sort_not_all_pairs() -> None:
    """All pairs would be two thousand million; the bound only tells these apart."""
    networks = {IPV4: ip_network("10.0.0.0/8")}
    leases = [
        lease(
            number,
            subnet=IPv4Network((0x0A000000 + (number << 8), 24)),
            public_ip=IPv4Address(0xAC100000 + number),
        )
        for number in range(65_536)
    ]
    ours = LeaseBook(leases[:1], networks=networks, vni=1)
    begin = time.monotonic()
    assert ours.replace(leases) == Delta(added=65_535)
    assert ours.replace(leases[::-1]) == Delta()
    assert time.monotonic() - begin < 20
