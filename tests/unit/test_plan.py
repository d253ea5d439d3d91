# SPDX-License-Identifier: Apache-2.0
"""Leases into the plane's table."""

from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address

from hypothesis import given
from hypothesis import strategies as st

from fwd.core.plan import make_plan
from fwd.model import IPV4, IPV6, Lease, Peer, Plan


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
    leases: list[Lease], rng: object
) -> None:
    plan = make_plan(leases, family=IPV4)
    assert {route.prefix: plan.peers[route.peer] for route in plan.routes} == {
        one.subnet: Peer(outer=one.public_ip, mac=one.vtep_mac) for one in leases
    }
    assert len(set(plan.peers)) == len(plan.peers), "one entry a VTEP"
    shuffled = list(leases)
    rng.shuffle(shuffled)  # type: ignore[attr-defined]
    assert make_plan(shuffled, family=IPV4) == plan


def test_a_plan_is_of_one_family() -> None:
    other = Lease(
        node="n2",
        subnet=IPv6Network("fc00:0:0:2::/64"),
        public_ip=ip_address("fd00::2"),
        vtep_mac=b"\2\0\0\0\0\2",
        vni=1,
    )
    assert make_plan([other], family=IPV4) == Plan()
    assert [route.prefix for route in make_plan([lease(1, 1), other], family=IPV6).routes] == [
        other.subnet
    ]
