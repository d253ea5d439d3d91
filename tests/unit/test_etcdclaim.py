# SPDX-License-Identifier: Apache-2.0
"""Which subnets a node takes: flannel's order, and what it must never do."""

import random
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwd.core.etcdclaim import Create, Discard, Full, Reuse, Who, decide, older_rival
from fwd.core.etcdlease import encode_value, make_key
from fwd.core.etcdrpc import KeyValue
from fwd.core.etcdtable import LeaseTable
from fwd.core.netconf import NetConf
from fwd.core.subnetpool import make_pools
from fwd.model import Lease, Network

PREFIX = "/coreos.com/network/subnets/"
POOLS = make_pools(NetConf(network=ip_network("10.5.0.0/24"), subnet_len=28))  # type: ignore[arg-type]
DUAL_POOLS = make_pools(
    NetConf(
        network=ip_network("10.5.0.0/24"),  # type: ignore[arg-type]
        subnet_len=28,
        enable_ipv6=True,
        ipv6_network=ip_network("fc00::/56"),  # type: ignore[arg-type]
        ipv6_subnet_len=64,
    )
)
OLD4, OLD6 = "10.5.0.32/28", "fc00:0:0:5::/64"
NEW4, NEW6 = "10.5.0.16/28", "fc00:0:0:1::/64"
MAC = bytes.fromhex("020000000001")


def _table(*rows: tuple[str, str, int], mac: bytes = MAC) -> LeaseTable:
    """Keys by subnet, address and lease; created in this order."""
    table = LeaseTable(prefix=PREFIX, families=(4,), vni=1)
    kvs = []
    for at, (subnet, address, lease_id) in enumerate(rows, 2):
        network, public_ip = ip_network(subnet), ip_address(address)
        value = encode_value({4: public_ip}, {4: Lease("", network, public_ip, mac, 1)})
        key = PREFIX + make_key({4: network})
        kvs.append(KeyValue(key.encode(), at, at, value=value, lease=lease_id))
    table.replace(kvs, revision=99)
    return table


def _who(address: str = "192.168.0.1", previous: str = "", mac: bytes | None = None) -> Who:
    return Who(
        public_ips={4: ip_address(address)},
        macs={} if mac is None else {4: mac},
        previous={4: ip_network(previous)} if previous else {},
    )


def _decide(table: LeaseTable, who: Who) -> Reuse | Create | Discard | Full:
    return decide(table, POOLS, who, choose=lambda _: 0)


def _by_family(*subnets: str) -> dict[int, Network]:
    networks = [ip_network(one) for one in subnets]
    return {one.version: one for one in networks}


def _subnet(step: object) -> str:
    assert isinstance(step, Create)
    return str(step.subnets[4])


def test_the_key_with_our_address_comes_first() -> None:
    table = _table(("10.5.0.16/28", "192.168.0.9", 7), ("10.5.0.64/28", "192.168.0.1", 7))
    step = _decide(table, _who(previous="10.5.0.32/28"))
    assert isinstance(step, Reuse)
    assert step.entry.name == "10.5.0.64-28"


def test_of_two_with_our_address_the_one_that_we_had_else_the_older() -> None:
    table = _table(("10.5.0.64/28", "192.168.0.1", 7), ("10.5.0.16/28", "192.168.0.1", 7))
    for previous, name in (("", "10.5.0.64-28"), ("10.5.0.16/28", "10.5.0.16-28")):
        step = _decide(table, _who(previous=previous))
        assert isinstance(step, Reuse)
        assert step.entry.name == name


def test_then_the_subnets_that_we_had() -> None:
    assert _subnet(_decide(_table(), _who(previous="10.5.0.32/28"))) == "10.5.0.32/28"


@pytest.mark.parametrize(
    ("families", "previous", "taken", "wanted"),
    [
        ((4,), (OLD4, OLD6), "", (OLD4,)),
        ((6,), (OLD4, OLD6), "", (OLD6,)),
        ((4, 6), (OLD4,), "", (OLD4, NEW6)),
        ((4, 6), (OLD6,), "", (NEW4, OLD6)),
        ((4, 6), (OLD4, OLD6), "", (OLD4, OLD6)),
        ((4, 6), (OLD4, OLD6), OLD4, (NEW4, OLD6)),
        ((4,), (OLD4, OLD6), OLD4, (NEW4,)),
        ((4,), (OLD6,), "", (NEW4,)),
    ],
)
def test_one_family_of_them_where_the_network_has_lost_or_gained_the_other(
    families: tuple[int, ...], previous: tuple[str, ...], taken: str, wanted: tuple[str, ...]
) -> None:
    table = _table((taken, "192.168.0.9", 7)) if taken else _table()
    pools = {family: DUAL_POOLS[family] for family in families}
    ips = {4: ip_address("192.168.0.1"), 6: ip_address("fd00::1")}
    who = Who(
        public_ips={family: ips[family] for family in families}, previous=_by_family(*previous)
    )
    step = decide(table, pools, who, choose=lambda _: 0)
    assert isinstance(step, Create)
    assert step.subnets == _by_family(*wanted)


def test_a_key_of_a_family_too_many_is_given_up_and_its_other_subnet_kept() -> None:
    subnets = _by_family(OLD4, OLD6)
    ips = {4: ip_address("192.168.0.1"), 6: ip_address("fd00::1")}
    leases = {family: Lease("", one, ips[family], MAC, 1) for family, one in subnets.items()}
    key = PREFIX + make_key(subnets)
    entry = KeyValue(key.encode(), 2, 2, value=encode_value(ips, leases), lease=7)
    table = LeaseTable(prefix=PREFIX, families=(4,), vni=1)
    table.replace([entry], revision=99)
    elsewhere = Who(public_ips={4: ip_address("192.168.0.7")}, macs={4: MAC}, previous=subnets)
    step = _decide(table, elsewhere)
    assert isinstance(step, Discard)
    assert step.entry.name == make_key(subnets)
    assert _subnet(_decide(_table(), elsewhere)) == OLD4
    # An agent that ended before it could write subnet.env.
    assert isinstance(_decide(_table((OLD4, "192.168.0.1", 7)), elsewhere), Reuse)


@pytest.mark.parametrize("previous", ["10.6.0.0/28", "10.5.0.0/28", "10.5.0.32/29"])
def test_but_not_those_of_another_network(previous: str) -> None:
    assert _subnet(_decide(_table(), _who(previous=previous))) == "10.5.0.16/28"


@pytest.mark.parametrize("taken", ["10.5.0.32/28", "10.5.0.40/30", "10.5.0.0/26"])
def test_and_not_those_of_which_somebody_has_a_part(taken: str) -> None:
    step = _decide(_table((taken, "192.168.0.9", 7)), _who(previous="10.5.0.32/28"))
    assert _subnet(step) != "10.5.0.32/28"


def test_our_key_is_found_by_its_mac_when_our_address_is_another() -> None:
    table = _table(("10.5.0.32/28", "192.168.0.9", 7))
    assert isinstance(_decide(table, _who(previous="10.5.0.32/28", mac=MAC)), Reuse)
    assert isinstance(_decide(table, _who(previous="10.5.0.32/28", mac=MAC[::-1])), Create)
    assert isinstance(_decide(table, _who(previous="10.5.0.48/28", mac=MAC)), Create)


def test_our_key_of_another_network_is_deleted_first() -> None:
    table = _table(("10.6.0.0/24", "192.168.0.1", 7))
    step = _decide(table, _who())
    assert isinstance(step, Discard)
    assert step.entry.name == "10.6.0.0-24"


def test_a_reservation_of_another_network_is_left() -> None:
    assert _subnet(_decide(_table(("10.6.0.0/24", "192.168.0.1", 0)), _who())) == "10.5.0.16/28"


def test_when_all_are_taken_it_says_which() -> None:
    pool = POOLS[4]
    table = _table(*((str(pool[place]), f"192.168.1.{place}", 7) for place in range(pool.count)))
    assert _decide(table, _who()) == Full("all 15 from 10.5.0.16/28 to 10.5.0.240/28 are taken")


def test_the_older_key_has_the_right_to_what_both_have() -> None:
    table = _table(("10.5.0.0/26", "192.168.0.1", 7), ("10.5.0.32/28", "192.168.0.2", 7))
    older, newer = table.by_age()
    assert older_rival(table, newer) == older
    assert older_rival(table, older) is None


def test_our_key_that_came_second_is_given_up_also_if_nobody_could_at_once() -> None:
    """Its maker may have lost etcd, or its life, between making it and looking who was faster."""
    rows = ("10.5.0.0/26", "192.168.0.9", 7), ("10.5.0.32/28", "192.168.0.1", 7)
    step = _decide(_table(*rows), _who())
    assert isinstance(step, Discard)
    assert (step.entry.name, step.reason) == ("10.5.0.32-28", "10.5.0.0-26 was faster")
    assert isinstance(_decide(_table(*reversed(rows)), _who()), Reuse)
    reserved = _table(rows[0], ("10.5.0.32/28", "192.168.0.1", 0))
    assert isinstance(_decide(reserved, _who()), Reuse)


_rows = st.lists(
    st.tuples(
        st.sampled_from(
            [str(POOLS[4][place]) for place in range(15)] + ["10.5.0.0/26", "10.9.0.0/28"]
        ),
        st.integers(1, 5).map(lambda number: f"192.168.0.{number}"),
        st.sampled_from([0, 7]),
    ),
    max_size=20,
    unique_by=lambda row: row[0],
)


@given(_rows, st.integers(1, 5), st.none() | st.integers(0, 14), st.integers(0))
def test_whatever_there_is_nobody_loses_a_subnet(
    rows: list[tuple[str, str, int]], number: int, previous: int | None, seed: int
) -> None:
    """A new key overlaps none; one that is used or deleted is ours; full means full."""
    table = _table(*rows)
    address = f"192.168.0.{number}"
    who = _who(address, "" if previous is None else str(POOLS[4][previous]))
    step = decide(table, POOLS, who, choose=random.Random(seed).randrange)
    taken: list[Network] = [ip_network(subnet) for subnet, *_ in rows]
    match step:
        case Reuse():
            assert (str(step.entry.subnets[4]), address) in {row[:2] for row in rows}
            assert step.entry.subnets[4] in POOLS[4]
        case Discard():
            assert (str(step.entry.subnets[4]), address, 7) in rows
            is_outside = step.entry.subnets[4] not in POOLS[4]
            assert is_outside or older_rival(table, step.entry) is not None
        case Create():
            assert step.subnets[4] in POOLS[4]
            assert not any(step.subnets[4].overlaps(one) for one in taken)
        case Full():
            assert all(any(POOLS[4][n].overlaps(one) for one in taken) for n in range(15))
