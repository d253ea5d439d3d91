# SPDX-License-Identifier: Apache-2.0
"""The table of leases: the order in which things are heard does not matter, their revision does."""

from collections.abc import Sized
from ipaddress import ip_network
from typing import TypeAlias

from hypothesis import given
from hypothesis import strategies as st

from fwd.core.etcdrpc import KeyValue
from fwd.core.etcdtable import LeaseTable
from fwd.core.gone import Gone

PREFIX = "/coreos.com/network/subnets/"


def _table(*families: int) -> LeaseTable:
    return LeaseTable(prefix=PREFIX, families=families or (4,), vni=1)


def _value(number: int, *, mac: int = 0, more: str = "") -> bytes:
    text = f'"BackendData":{{"VNI":1,"VtepMAC":"02:00:00:00:{mac:02x}:{number:02x}"}}'
    address = f'"PublicIP":"192.168.0.{number}","PublicIPv6":null'
    return f'{{{address},"BackendType":"vxlan",{text}{more}}}'.encode()


def _kv(number: int, *, at: int, created: int = 0, value: bytes | None = None) -> KeyValue:
    return KeyValue(
        f"{PREFIX}10.5.{number}.0-24".encode(),
        created or at,
        at,
        value=_value(number) if value is None else value,
        lease=7,
    )


def _gone(number: int, *, at: int) -> KeyValue:
    return KeyValue(f"{PREFIX}10.5.{number}.0-24".encode(), mod_revision=at)


def test_a_key_is_a_lease() -> None:
    table = _table()
    table.replace([_kv(3, at=5)], revision=6)
    (lease,) = table.leases()
    assert (lease.node, lease.subnet) == ("192.168.0.3", ip_network("10.5.3.0/24"))
    assert (str(lease.public_ip), lease.vtep_mac.hex(":")) == ("192.168.0.3", "02:00:00:00:00:03")
    assert table.taken() == [ip_network("10.5.3.0/24")]


def test_the_oldest_key_comes_first_and_ours_is_left_out() -> None:
    table = _table()
    table.replace([_kv(1, at=9), _kv(2, at=4), _kv(3, at=8, created=2)], revision=9)
    assert [lease.node for lease in table.leases(but="10.5.2.0-24")] == [
        "192.168.0.3",
        "192.168.0.1",
    ]


def test_a_list_goes_back_in_time_and_is_right() -> None:
    table = _table()
    table.replace([_kv(1, at=90), _kv(2, at=95)], revision=99)
    assert table.replace([_kv(1, at=5)], revision=6)
    assert [lease.node for lease in table.leases()] == ["192.168.0.1"]
    assert table.put(_kv(2, at=7))


def test_what_is_heard_twice_or_late_changes_nothing() -> None:
    table = _table()
    table.replace([_kv(1, at=5)], revision=10)
    assert not table.put(_kv(1, at=5))
    assert not table.put(_kv(2, at=9))
    assert not table.delete(_gone(1, at=4))
    assert table.delete(_gone(1, at=11))
    assert not table.delete(_gone(1, at=11))
    assert not table.put(_kv(1, at=10, created=5))
    assert table.put(_kv(1, at=12))


def test_what_was_done_while_a_list_was_under_way_is_not_undone_by_it() -> None:
    table = _table()
    table.replace([_kv(1, at=5), _kv(2, at=6), _kv(3, at=7)], revision=10)
    table.begin_list()
    assert table.put(_kv(1, at=12, created=5, value=_value(1, mac=9)))
    assert table.delete(_gone(2, at=13))
    assert table.put(_kv(4, at=14))
    table.replace([_kv(1, at=5), _kv(2, at=6), _kv(3, at=7)], revision=11)
    assert [(entry.name, entry.modified) for entry in table.by_age()] == [
        ("10.5.1.0-24", 12),
        ("10.5.3.0-24", 7),
        ("10.5.4.0-24", 14),
    ]
    assert table.complete_to == 11
    # What the list knows, too, is as the list says; and what came before it was asked for is past.
    table.begin_list()
    table.put(_kv(4, at=15, created=14, value=_value(4, mac=9)))
    table.replace([_kv(3, at=16, created=16), _kv(4, at=16, created=16)], revision=16)
    assert [entry.modified for entry in table.by_age()] == [16, 16]
    table.put(_kv(4, at=17, created=16, value=_value(4, mac=8)))
    table.begin_list()
    table.replace([_kv(3, at=5)], revision=6)
    assert [entry.name for entry in table.by_age()] == ["10.5.3.0-24"]


def test_a_renewal_leaves_the_lease_the_same_object() -> None:
    table = _table()
    table.replace([_kv(1, at=5)], revision=5)
    (before,) = table.leases()
    assert table.put(_kv(1, at=6, created=5))
    assert table.leases()[0] is before


def test_a_list_that_says_the_same_is_no_change() -> None:
    table = _table()
    table.replace([_kv(1, at=5)], revision=5)
    assert not table.replace([_kv(1, at=5)], revision=8)


def test_reservations_are_no_leases_and_no_faults_and_hold_their_subnet() -> None:
    table = _table()
    table.replace([_kv(1, at=5, value=b'{"PublicIP":"10.37.7.195"}')], revision=5)
    assert (table.leases(), table.refusals()) == ((), ())
    assert table.taken() == [ip_network("10.5.1.0/24")]


def test_what_cannot_be_understood_is_named_and_holds_its_subnet() -> None:
    table = _table()
    host_gw = b'{"PublicIP":"192.168.0.2","BackendType":"host-gw"}'
    vxlan = b'{"PublicIP":"192.168.0.3","BackendType":"vxlan"}'
    table.replace(
        [
            _kv(1, at=1, value=b"{"),
            _kv(2, at=2, value=host_gw),
            _kv(3, at=3, value=vxlan),
            KeyValue(f"{PREFIX}nonsense".encode(), 4, 4, value=b"{}"),
        ],
        revision=9,
    )
    assert table.leases() == ()
    assert len(table.taken()) == 3
    assert [(one.node, one.reason.partition(": ")[2][:24]) for one in table.refusals()] == [
        ("10.5.1.0-24", "Expecting property name "),
        ("192.168.0.2", "ignoring non-vxlan: type"),
        ("192.168.0.3", "BackendData: is missing"),
        ("nonsense", "its key is no subnet suc"),
    ]


def test_both_families_of_a_key_and_one_that_has_only_ipv4() -> None:
    table = _table(4, 6)
    both = KeyValue(
        f"{PREFIX}10.5.1.0-24&fd00:5:1::-64".encode(),
        1,
        1,
        value=_value(1, more=',"BackendV6Data":{"VNI":1,"VtepMAC":"02:00:00:00:06:01"}').replace(
            b'"PublicIPv6":null', b'"PublicIPv6":"fd00::1"'
        ),
    )
    table.replace([both, _kv(2, at=2)], revision=2)
    assert [str(lease.subnet) for lease in table.leases()] == [
        "10.5.1.0/24",
        "fd00:5:1::/64",
        "10.5.2.0/24",
    ]
    assert table.refusals() == ()


def test_keys_that_come_and_go_for_weeks_leave_no_more_than_some() -> None:
    """Without a list in between: a healthy watch needs none."""
    table = _table()
    table.replace([_kv(1, at=5)], revision=10)
    keys = [f"{PREFIX}10.5.{i >> 8}.{i & 255}-32".encode() for i in range(10_000)]
    for at, key in enumerate(keys):
        assert table.put(KeyValue(key, 20 + 2 * at, 20 + 2 * at))
        assert table.delete(KeyValue(key, mod_revision=21 + 2 * at))
        table.complete_to = 21 + 2 * at
    assert sum(len(part) for part in vars(table).values() if isinstance(part, Sized)) < 5000
    assert not any(table.put(KeyValue(key, 20, 20 + 2 * at)) for at, key in enumerate(keys))
    assert len(table) == 1, "nothing comes back"
    assert table.replace([_kv(2, at=3)], revision=4), "a restored backup forgets it all"
    assert table.put(_kv(3, at=5))


_steps = st.lists(
    st.tuples(st.integers(1, 4), st.booleans(), st.integers(0, 3)), min_size=1, max_size=20
)


_Event: TypeAlias = tuple[bool, KeyValue]


def _play(steps: list[tuple[int, bool, int]]) -> list[tuple[_Event | None, dict[int, KeyValue]]]:
    """From revision 2 on, one a step: what is told of it, and what is there then."""
    store: dict[int, KeyValue] = {}
    played: list[tuple[_Event | None, dict[int, KeyValue]]] = []
    for revision, (number, is_put, mac) in enumerate(steps, 2):
        event: _Event | None = None
        if is_put:
            known = store.get(number)
            created = known.create_revision if known else revision
            value = _value(number, mac=mac)
            store[number] = _kv(number, at=revision, created=created, value=value)
            event = True, store[number]
        elif store.pop(number, None):
            event = False, _gone(number, at=revision)
        played.append((event, store.copy()))
    return played


def _tell(table: LeaseTable, event: _Event) -> bool:
    is_put, kv = event
    return (table.put if is_put else table.delete)(kv)


@given(_steps, st.data())
def test_events_in_any_order_end_where_the_store_does(
    steps: list[tuple[int, bool, int]], data: st.DataObject
) -> None:
    """The store, step by step; its events then come in any order, each once or twice."""
    played = _play(steps)
    events = [event for event, _ in played if event]
    table = _table()
    table.replace([], revision=1)
    for event in data.draw(st.permutations(events + events[::2])):
        _tell(table, event)
    expected = _table()
    expected.replace(played[-1][1].values(), revision=99)
    assert table.by_age() == expected.by_age()


@given(_steps, st.data())
def test_no_late_or_early_answer_undoes_what_a_watch_tells(
    steps: list[tuple[int, bool, int]], data: st.DataObject
) -> None:
    """An answer to a request of ours is of any revision; and what is gone is hardly remembered."""
    played = _play(steps)
    table = _table()
    table._ended = Gone(kept=1)
    table.replace([], revision=1)
    asked = st.tuples(st.integers(1, 4), st.integers(0, len(played) - 1))
    for revision, (event, _) in enumerate(played, 2):
        for number, at in data.draw(st.lists(asked, max_size=2)):
            kv = played[at][1].get(number)
            _tell(table, (True, kv) if kv else (False, _gone(number, at=at + 2)))
        if event:
            _tell(table, event)
        if data.draw(st.booleans()):  # an answer of the watch ends with this
            table.complete_to = revision
    assert not any(_tell(table, event) for event, _ in played if event)
    expected = _table()
    expected.replace(played[-1][1].values(), revision=99)
    assert table.by_age() == expected.by_age()
