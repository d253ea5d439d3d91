# SPDX-License-Identifier: Apache-2.0
"""Leases that are gone linger, until they are back, in the way, or their time is over."""

from ipaddress import ip_address, ip_network

from hypothesis import given
from hypothesis import strategies as st

from fwd.core.lingering import Lingering
from fwd.model import Lease


def _lease(number: int, *, subnet: str = "", ip: int = 0, mac: int = 0) -> Lease:
    address = ip_address(f"192.168.0.{ip or number}")
    return Lease(
        node=str(address),
        subnet=ip_network(subnet or f"10.5.{number}.0/24"),
        public_ip=address,
        vtep_mac=bytes([2, 0, 0, 0, 0, mac or number]),
        vni=1,
    )


A, B = _lease(1), _lease(2)


def test_one_that_is_gone_lingers_until_its_time_is_over() -> None:
    lingering = Lingering()
    assert lingering.settle((), (A, B), now=0, until=2) == (A, B)
    assert lingering.next_end() is None
    assert lingering.settle((), (B,), now=10, until=12) == (B, A)
    assert lingering.next_end() == 12
    assert lingering.settle((), (B,), now=11.9, until=14) == (B, A)
    assert lingering.settle((), (B,), now=12, until=14) == (B,)
    assert lingering.next_end() is None


def test_one_that_is_back_is_what_it_is_by_then_and_may_linger_anew() -> None:
    lingering, moved = Lingering(), _lease(1, ip=77)
    lingering.settle((), (A, B), now=0, until=2)
    lingering.settle((), (B,), now=1, until=3)
    assert lingering.settle((), (B, moved), now=2, until=4) == (B, moved)
    assert lingering.next_end() is None
    assert lingering.settle((), (B,), now=9, until=11) == (B, moved)
    assert lingering.next_end() == 11


def test_one_that_is_in_the_way_goes_at_once() -> None:
    for other in (
        _lease(9, ip=1),  # the node has another subnet
        _lease(9, mac=1),
        _lease(9, subnet="10.5.1.128/25"),
        _lease(9, subnet="10.5.0.0/23"),
    ):
        for own, leases in (((), (B, other)), ((other,), (B,))):
            lingering = Lingering()
            lingering.settle((), (A, B), now=0, until=2)
            assert lingering.settle(own, leases, now=1, until=3) == leases
            assert lingering.next_end() is None


def test_one_that_cannot_come_back_yet_lingers_on() -> None:
    lingering = Lingering()
    lingering.settle((), (A, B), now=0, until=2)
    lingering.settle((), (B,), now=1, until=3)
    assert lingering.settle((), (B,), now=3, until=5, at_least=8) == (B, A)
    assert lingering.next_end() == 8
    assert lingering.settle((), (B,), now=7, until=9) == (B, A)
    assert lingering.settle((), (B,), now=8, until=9) == (B,)


_sets = st.sets(st.integers(1, 6))


@given(st.lists(st.tuples(_sets, st.integers(0, 3)), min_size=1, max_size=12))
def test_who_is_there_is_in_force_and_who_was_there_for_a_while(
    steps: list[tuple[set[int], int]],
) -> None:
    lingering, now = Lingering(), 0
    ends: dict[int, int] = {}
    """Of all in force; those that are there have none yet."""
    for there, pause in steps:
        now += pause
        missed = {one: end or now + 2 for one, end in ends.items() if one not in there}
        ends = {one: end for one, end in missed.items() if end > now} | dict.fromkeys(there, 0)
        found = lingering.settle((), tuple(map(_lease, sorted(there))), now=now, until=now + 2)
        assert {lease.vtep_mac[-1] for lease in found} == ends.keys()
