# SPDX-License-Identifier: Apache-2.0
"""Leases into the plane's table."""

from ipaddress import IPv4Address, IPv4Network

from hypothesis import given
from hypothesis import strategies as st

from fwd.core.plan import make_plan
from fwd.model import Lease, Peer, Plan
from tests.unit.in_family import EACH_FAMILY, said

pytestmark = EACH_FAMILY


def lease(subnet: int, node: int) -> Lease:
    return Lease(
        node=f"n{subnet}",
        subnet=IPv4Network((0x0AF40000 + (subnet << 8), 24)),
        public_ip=IPv4Address(0xC0A80000 + node),
        vtep_mac=bytes([2, 0, 0, 0, 0, node]),
        vni=1,
    )


LEASES = st.dictionaries(st.integers(0, 255), st.integers(1, 9)).map(
    lambda owners: [lease(subnet, node) for subnet, node in owners.items()]
)


@given(LEASES, st.randoms())
def test_every_subnet_goes_to_its_lease_whatever_the_order(
    family: int, leases: list[Lease], rng: object
) -> None:
    leases = said(family, leases)
    plan = make_plan(leases, family=family)
    assert {route.prefix: plan.peers[route.peer] for route in plan.routes} == {
        one.subnet: Peer(outer=one.public_ip, mac=one.vtep_mac) for one in leases
    }
    assert len(set(plan.peers)) == len(plan.peers), "one entry a VTEP"
    shuffled = list(leases)
    rng.shuffle(shuffled)  # type: ignore[attr-defined]
    assert make_plan(shuffled, family=family) == plan


def test_a_plan_is_of_one_family(family: int) -> None:
    ours, other = said(family, lease(1, 1)), said(10 - family, lease(2, 2))
    assert make_plan([other], family=family) == Plan()
    assert [route.prefix for route in make_plan([ours, other], family=family).routes] == [
        ours.subnet
    ]
