# SPDX-License-Identifier: Apache-2.0
"""The table of Nodes, event by event, against computing everything anew."""

import random
from collections.abc import Sized
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from fwd.core.gone import Gone
from fwd.core.nodetable import NodeTable
from fwd.core.nodewire import Changed, Deleted, Unusable
from fwd.model import Refusal
from tests.unit.in_family import EACH_FAMILY
from tests.unit.kube_support import changed, changed_in


def table(*listed: Changed | Unusable, version: str = "") -> NodeTable:
    made = NodeTable(families=[4, 6], vni=1)
    made.replace(listed, version=version)
    return made


def names(of: NodeTable) -> list[str]:
    return [lease.node for lease in of.leases()]


@EACH_FAMILY
def test_a_heartbeat_changes_nothing(family: int) -> None:
    ours = table(changed_in(family, 1), changed_in(family, 2))
    assert not ours.apply(changed_in(family, 2, version=5))
    assert ours.apply(changed_in(family, 2, version=6, public_ip="192.168.9.9"))


@EACH_FAMILY
@pytest.mark.parametrize(
    "change",
    [
        {"public_ip": "192.168.9.9"},
        {"backend_data": '{"VNI":1,"VtepMAC":"02:00:00:00:00:99"}'},
        {"backend_type": "host-gw"},
        {"kube_subnet_manager": None},
        {"cidr": "10.244.99.0/24"},
    ],
)
def test_every_change_that_matters_reaches_the_leases(family: int, change: dict[str, Any]) -> None:
    """flannel ignores a changed podCIDR and a removed managed flag (3.5)."""
    ours = table(changed_in(family, 1), changed_in(family, 2))
    before = ours.leases()
    assert ours.apply(changed_in(family, 2, version=5, **change))
    assert ours.leases() != before
    assert ours.leases()[0] == before[0]


def test_the_oldest_node_comes_first_and_names_decide_between_equals() -> None:
    ours = table(
        changed(3, created="2026-01-01T00:00:05Z"),
        changed(1, created="2026-01-01T00:00:09Z"),
        changed(4, created="2026-01-01T00:00:05Z"),
        changed(2, created=None),
    )
    assert names(ours) == ["n3", "n4", "n1", "n2"], "one without an age is the youngest"


@EACH_FAMILY
def test_what_cannot_be_understood_is_told(family: int) -> None:
    ours = table(
        changed_in(family, 1, public_ip="x"), Unusable("n2", "bad"), Unusable("", "nameless")
    )
    assert ours.refusals() == (
        Refusal(
            "n1", "Error turning node \"n1\" to lease: invalid IP address format: public-ip 'x'"
        ),
        Refusal("n2", "node n2: bad"),
    )
    assert ours.apply(changed_in(family, 2, version=9))
    assert [refusal.node for refusal in ours.refusals()] == ["n1"]
    assert ours.apply(Unusable("n2", "bad", "10"))
    assert not ours.apply(Unusable("n2", "bad", "11"))
    assert names(ours) == []
    assert ours.apply(Deleted("n2", "12"))
    assert [refusal.node for refusal in ours.refusals()] == ["n1"]


def test_old_news_changes_nothing() -> None:
    ours = table(changed(1, version=10), version="20")
    assert not ours.apply(changed(1, version=10, public_ip="192.168.9.9"))
    assert not ours.apply(changed(2, version=15)), "deleted before the list, or it had been in it"
    assert ours.apply(changed(2, version=25))
    assert ours.apply(Deleted("n2", "30"))
    assert not ours.apply(changed(2, version=25)), "a replay must not bring it back"
    assert ours.apply(changed(2, version=31))
    assert not ours.apply(Deleted("n2", "30"))
    assert names(ours) == ["n1", "n2"]


def test_a_list_is_right_even_if_it_goes_back_in_time() -> None:
    ours = table(changed(1, version=100), changed(2, version=101), version="200")
    assert ours.replace([changed(1, version=5)], version="6")
    assert names(ours) == ["n1"]
    assert ours.apply(changed(2, version=7))


@EACH_FAMILY
def test_what_was_heard_since_a_list_was_asked_for_counts_if_it_is_newer(family: int) -> None:
    old, new = ({"version": version, "public_ip": f"192.168.9.{version}"} for version in (90, 105))
    ours = table(changed_in(family, 1, **old), version="95")
    ours.begin_list()
    assert ours.apply(changed_in(family, 1, **new))
    assert ours.apply(changed_in(family, 2, version=99))
    assert ours.apply(changed_in(family, 3, version=103)), "the list has it not yet"
    before = ours.leases()
    assert ours.replace([changed_in(family, 1, **old)], version="100"), "n2 is deleted meanwhile"
    assert names(ours) == ["n1", "n3"]
    assert set(ours.leases()) < set(before)
    assert not ours.apply(changed_in(family, 1, **new)), "and the watch tells it again"
    ours.begin_list()
    assert ours.replace([changed_in(family, 1, **old)], version="100"), "a restored backup"
    assert names(ours) == ["n1"]
    assert set(ours.leases()).isdisjoint(before)


def test_what_was_heard_since_counts_whatever_was_deleted_after_it() -> None:
    ours = table(version="10")
    ours._gone = Gone(kept=1)
    ours.begin_list()
    for number in range(1, 6):
        assert ours.apply(changed(number, version=10 + number))
    for number in range(1, 4):
        assert ours.apply(Deleted(f"n{number}", str(20 + number)))
    ours.replace([], version="10")
    assert names(ours) == ["n4", "n5"]


def test_what_was_heard_meanwhile_is_not_compared_with_a_list_of_no_number() -> None:
    ours = table(changed(1), version="95")
    ours.begin_list()
    assert ours.apply(changed(1, version=105, public_ip="192.168.9.9"))
    assert ours.replace([changed(1)], version="x")
    assert ours.leases() == table(changed(1)).leases()


def test_the_same_list_again_changes_nothing() -> None:
    ours = table(changed(1), changed(2))
    assert not ours.replace([changed(2, version=8), changed(1, version=9)])
    assert ours.replace([changed(1)])


def test_versions_that_are_no_numbers_are_taken_as_they_come() -> None:
    ours = table(changed(1))
    first, second = changed(1, public_ip="192.168.9.1"), changed(1, public_ip="192.168.9.2")
    assert ours.apply(Changed(first.node, "abc"))
    assert ours.apply(Changed(second.node, "abb"))


def remembered(by: NodeTable) -> int:
    """Entries of all that it keeps."""
    return sum(len(part) for part in vars(by).values() if isinstance(part, Sized))


def test_nodes_that_come_and_go_for_weeks_leave_no_more_than_some() -> None:
    """Without a list in between: a healthy watch needs none."""
    ours = table(changed(1, version=5), version="10")
    events: list[Changed | Deleted] = []
    for number in range(2, 5002):
        version = 10 * number
        node = replace(changed(2).node, name=f"n{number}")
        events += [Changed(node, str(version)), Deleted(node.name, str(version + 1))]
    for event in events:
        assert ours.apply(event)
    assert remembered(ours) < 3000
    random.Random(1).shuffle(events)
    assert not any(ours.apply(event) for event in events), "nothing comes back"
    assert names(ours) == ["n1"]
    assert ours.apply(changed(1, version=20, public_ip="192.168.9.9")), "who is there has its own"
    assert ours.replace([changed(2, version=5)], version="6"), "a restored backup forgets it all"
    assert ours.apply(changed(3, version=7))


HISTORY = st.lists(
    st.tuples(st.integers(1, 6), st.sampled_from(["change", "beat", "delete", "spoil"])),
    max_size=40,
)


def play(history: list[tuple[int, str]]) -> tuple[list[Changed | Deleted | Unusable], Any]:
    """Events of a cluster's history, and the table that a list at its end makes."""
    events: list[Changed | Deleted | Unusable] = []
    there: dict[int, Changed | Unusable] = {}
    for version, (number, what) in enumerate(history, 1):
        had = there.get(number)
        match what:
            case "beat" if isinstance(had, Changed):
                event: Changed | Deleted | Unusable = Changed(had.node, str(version))
            case "delete" if had is not None:
                event = Deleted(f"n{number}", str(version))
            case "spoil":
                event = Unusable(f"n{number}", "spoilt", str(version))
            case _:
                families = ((4,), (6,), (4, 6))[version % 3]
                moved = {"public_ip": f"192.168.7.{version}"} if 4 in families else {}
                moved |= {"public_ipv6": f"fd07::{version}"} if 6 in families else {}
                event = changed(number, version=version, families=families, **moved)
        if isinstance(event, Deleted):
            del there[number]
        else:
            there[number] = event
        events.append(event)
    return events, table(*there.values())


@given(HISTORY)
def test_event_by_event_is_the_same_as_a_list_at_the_end(history: list[tuple[int, str]]) -> None:
    events, truth = play(history)
    ours = table()
    for event in events:
        ours.apply(event)
    assert (ours.leases(), ours.refusals()) == (truth.leases(), truth.refusals())


@given(HISTORY, st.randoms(use_true_random=False))
def test_replayed_and_shuffled_events_end_in_the_truth(
    history: list[tuple[int, str]], dice: random.Random
) -> None:
    """All of a minute twice, and each object's in any order: the newest of each wins."""
    events, truth = play(history)
    twice = events * 2
    dice.shuffle(twice)
    ours = table()
    for event in twice:
        ours.apply(event)
    assert (ours.leases(), ours.refusals()) == (truth.leases(), truth.refusals())


@given(HISTORY, st.data())
def test_a_list_in_the_midst_and_a_watch_from_it_end_in_the_truth(
    history: list[tuple[int, str]], data: st.DataObject
) -> None:
    """Even if the watch sends again what was before the list."""
    events, truth = play(history)
    at = data.draw(st.integers(0, len(history)))
    again = data.draw(st.integers(0, at))
    _, listed = play(history[:at])
    ours = table(
        *(
            Changed(known.node, "0")
            for known in listed._known.values()  # what a list would say
        ),
        *(Unusable(name, reason, "0") for name, reason in listed._unusable.items()),
        version=str(at),
    )
    for event in events[again:]:
        ours.apply(event)
    assert (ours.leases(), ours.refusals()) == (truth.leases(), truth.refusals())


@given(HISTORY, st.data())
def test_no_late_or_early_answer_undoes_what_a_watch_tells(
    history: list[tuple[int, str]], data: st.DataObject
) -> None:
    """Even if of all that is gone only the last one is remembered."""
    events, truth = play(history)
    ours = table(version="0")
    ours._gone = Gone(kept=1)
    answers = [event for event in events if not isinstance(event, Deleted)]
    for event in events:
        for answer in data.draw(st.lists(st.sampled_from(answers), max_size=2)) if answers else ():
            ours.apply(answer)
        ours.apply(event)
    for event in data.draw(st.permutations(events)):
        assert not ours.apply(event)
    assert (ours.leases(), ours.refusals()) == (truth.leases(), truth.refusals())
    assert len(ours._gone) <= 3
