# SPDX-License-Identifier: Apache-2.0
"""Which peer's traffic is counted where: slots are kept, and change owners only when none looks."""

from ipaddress import ip_address

from fwd.model import Address
from fwd.plane.peers import SHARED, PeerGroup, PeerSlots, PeerTraffic

# Of either family: a slot is an address' and asks for no more.
A, B = (ip_address(f"192.168.50.{number}") for number in (1, 2))
C, D = (ip_address(f"fd02::{number}") for number in (3, 4))


def commit(slots: PeerSlots, *peers: Address, settled: bool = True) -> dict[str, int]:
    """Puts a table with these peers into force; the slots that had another owner before."""
    proposed = slots.propose(peers, settled=settled)
    second_hand = slots.second_hand(proposed)
    slots.accept(proposed)
    return {str(peer): slot for peer, slot in second_hand.items()}


def test_a_peer_keeps_its_slot_whatever_its_place() -> None:
    slots = PeerSlots()
    commit(slots, A, B, C)
    before = slots.by_peer
    commit(slots, C, B, D, A)
    assert {peer: slots.by_peer[peer] for peer in (A, B, C)} == before
    assert list(slots.by_peer) == [C, B, D, A]
    assert len(set(slots.by_peer.values())) == 4


def test_a_slot_is_given_again_only_when_no_old_table_is_left() -> None:
    slots = PeerSlots()
    commit(slots, A, B)
    was = slots.by_peer[A]
    commit(slots, B)
    assert commit(slots, B, C, settled=False) == {}
    assert slots.by_peer[C] != was
    assert commit(slots, B, C, D) == {str(D): was}


def test_one_that_comes_back_is_a_new_one() -> None:
    slots = PeerSlots()
    commit(slots, A, B)
    commit(slots, B)
    assert str(A) in commit(slots, A, B), "and what its slot stood at is not its own"


def test_a_proposal_that_did_not_come_into_force_changes_nothing() -> None:
    slots = PeerSlots()
    commit(slots, A, B)
    before = dict(slots.by_peer)
    slots.propose([C], settled=True)
    assert slots.by_peer == before
    assert commit(slots, A, B, C) == {}
    assert slots.by_peer == before | {C: max(before.values()) + 1}


def test_those_for_whom_there_is_no_slot_share_one_until_there_is() -> None:
    slots = PeerSlots(slots=3)
    commit(slots, A, B, C, D)
    assert [slots.by_peer[peer] for peer in (A, B, C, D)] == [1, 2, SHARED, SHARED]
    commit(slots, B, D, settled=True)
    commit(slots, B, D, settled=True)
    assert slots.by_peer == {B: 2, D: 1}


def test_traffic_adds_up_and_has_a_beginning() -> None:
    first, second = PeerTraffic(1, 10, 2, 20, 500), PeerTraffic(4, 40, 5, 50, 0)
    both = first.plus(second)
    assert both == PeerTraffic(5, 50, 7, 70, 500)
    assert both.since(first) == PeerTraffic(4, 40, 5, 50, 0), "heard by the one before only"
    assert PeerTraffic(heard_ms=501).since(first).heard_ms == 501


def test_a_group_has_the_slots_of_the_table_in_force() -> None:
    slots, group = PeerSlots(), PeerGroup([A, C, B])
    assert group.slots(slots.by_peer) == (None, None, None)
    commit(slots, A, B)
    before = group.slots(slots.by_peer)
    assert before == (slots.by_peer[A], None, slots.by_peer[B])
    commit(slots, C)
    commit(slots, C, A, D)
    assert group.slots(slots.by_peer) == (slots.by_peer[A], slots.by_peer[C], None)
