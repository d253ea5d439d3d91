# SPDX-License-Identifier: Apache-2.0
"""A book that has seen other leases before judges each snapshot as one that has seen none."""

from functools import cache
from ipaddress import IPv4Address, IPv4Network, ip_address, ip_network
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from fwd.core.leases import Delta, LeaseBook
from fwd.model import Lease, Network
from tests.unit.in_family import EACH_FAMILY, FAMILIES, said

NETWORKS: dict[int, Network] = {
    family: said(family, ip_network("10.244.0.0/16")) for family in FAMILIES
}
Values = tuple[int, int, int, int, int, int]
"""Node, family, number of its subnet, of its public IP and of its MAC, VNI."""


@cache
def lease(values: Values) -> Lease:
    """The same object for the same values, as in a source that keeps what has not changed."""
    node, family, subnet, public_ip, mac, vni = values
    made = Lease(
        node=f"n{node}",
        subnet=IPv4Network((0x0AF40000 + (subnet << 7), 25)),
        public_ip=IPv4Address(0xC0A80000 + public_ip),
        vtep_mac=b"\x02\0\0\0\0" + bytes([mac]),
        vni=vni,
    )
    return said(family, made)


def book() -> LeaseBook:
    ours = [lease((1, family, 1, 1, 1, 1)) for family in FAMILIES]
    return LeaseBook(ours, networks=NETWORKS, vni=1, all_or_nothing=False)


FEW = st.integers(1, 4)
SNAPSHOT = st.lists(
    st.tuples(st.integers(2, 4), st.sampled_from(FAMILIES), FEW, FEW, FEW, st.sampled_from([1, 7])),
    max_size=6,
)


@given(st.lists(SNAPSHOT, min_size=2, max_size=4), st.booleans())
@example([[(2, 4, 2, 2, 2, 1)], [(2, 4, 3, 2, 2, 1), (3, 4, 2, 3, 3, 1)]], False)
def test_what_was_before_makes_no_difference(
    snapshots: list[list[Values]],
    copied: bool,  # noqa: FBT001
) -> None:
    ours = book()
    for values in snapshots:
        snapshot = [replace(lease(one)) if copied else lease(one) for one in values]
        fresh, before = book(), {(one.node, one.family): one for one in ours.leases}
        fresh.replace(snapshot)
        delta = ours.replace(snapshot)
        assert (ours.leases, ours.refused) == (fresh.leases, fresh.refused)
        now = {(one.node, one.family): one for one in ours.leases}
        assert delta == Delta(
            added=len(now.keys() - before.keys()),
            changed=sum(now[key] != before[key] for key in now.keys() & before.keys()),
            removed=len(before.keys() - now.keys()),
        )


@EACH_FAMILY
@pytest.mark.parametrize(
    "change",
    [
        {"subnet": ip_network("10.244.9.0/25")},
        {"public_ip": ip_address("192.168.0.9")},
        {"vtep_mac": b"\2\0\0\0\0\x09"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_a_node_has_left_is_free_for_the_next_one(family: int, change: dict[str, Any]) -> None:
    first, second = lease((2, family, 2, 2, 2, 1)), lease((3, family, 3, 3, 3, 1))
    name = next(iter(change))
    ours = book()
    ours.replace([first, second])
    moved = replace(first, **said(family, change))
    heir = replace(second, **{name: getattr(first, name)})
    ours.replace([moved, heir])
    assert (ours.leases, ours.refused) == ((moved, heir), ())


@EACH_FAMILY
def test_a_fault_that_is_mended_is_forgotten_and_a_new_one_found(family: int) -> None:
    right, wrong = lease((2, family, 2, 2, 2, 1)), lease((2, family, 2, 2, 2, 7))
    ours = book()
    for one in (wrong, right, wrong):
        ours.replace([one])
        assert ours.leases == ((right,) if one is right else ())
        assert [refusal.node for refusal in ours.refused] == ([] if one is right else ["n2"])
