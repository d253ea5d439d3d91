# SPDX-License-Identifier: Apache-2.0
"""Keys and values of somebody who may write any into etcd: each is refused by name, others go on.

From what a list brings to the leases in force, as `sources.etcd` puts the parts together.
"""

import json
from ipaddress import ip_network

import msgspec
import pytest

from fwd.core.etcdlease import decode_value, parse_key
from fwd.core.etcdrpc import KeyValue
from fwd.core.etcdtable import LeaseTable
from fwd.core.leases import LeaseBook

PREFIX = "/coreos.com/network/subnets/"
NETWORK = ip_network("10.5.0.0/16")
KEY = "10.5.66.0-24"
HUGE = 1_000_000
"""etcd takes requests of 1.5 MiB."""
DEPTHS = [1, 100, 400, *range(470, 530, 5), 700, 900, *range(960, 1000), 5000, 100_000]
"""C reads some 985 levels of JSON, and Python calls some 1,000 functions within each other."""


def _value(number: int, *, kind: str = '"vxlan"', data: str = "") -> bytes:
    data = data or f'{{"VNI":1,"VtepMAC":"02:00:00:00:00:{number:02x}"}}'
    return (
        f'{{"PublicIP":"192.168.0.{number}","PublicIPv6":null,"BackendType":{kind},'
        f'"BackendData":{data}}}'
    ).encode()


def _with(key: str, value: bytes) -> LeaseTable:
    """Three honest nodes, and this."""
    pairs = [(f"10.5.{number}.0-24", _value(number)) for number in (1, 2, 3)]
    table = LeaseTable(prefix=PREFIX, families=[4], vni=1)
    listed = [
        KeyValue(f"{PREFIX}{name}".encode(), 1, 1, value=text, lease=7)
        for name, text in [(key, value), *pairs]
    ]
    table.replace(listed, revision=9)
    return table


def _in_force(table: LeaseTable) -> set[str]:
    book = LeaseBook((), networks={4: NETWORK}, vni=1, all_or_nothing=False)
    book.replace(table.leases())
    return {lease.node for lease in book.leases}


HONEST = {f"192.168.0.{number}" for number in (1, 2, 3)}

HOSTILE: dict[str, tuple[str, bytes]] = {
    "a value that is no JSON": (KEY, b"{" * HUGE),
    "a type of half a character": (KEY, _value(66, kind=r'"\ud800"')),
    "a type of halves in the wrong order": (KEY, _value(66, kind=r'"\udc00\ud800"')),
    "a type that is no UTF-8": (KEY, _value(66, kind='"@"').replace(b"@", b"\xed\xa0\x80")),
    "an address of half a character": (KEY, rb'{"PublicIP":"\udfff","BackendType":"vxlan"}'),
    "a MAC of half a character": (KEY, _value(66, data=r'{"VtepMAC":"\udfff"}')),
    "a type of a megabyte": (KEY, _value(66, kind=json.dumps("x" * HUGE))),
    "an address of a megabyte": (KEY, b'{"PublicIP":"%s"}' % (b"1" * HUGE)),
    "a MAC of a megabyte": (KEY, _value(66, data=json.dumps({"VtepMAC": "x" * HUGE}))),
    "a VNI of a megabyte": (KEY, _value(66, data=f'{{"VNI":{"9" * HUGE}}}')),
    "a VNI of a megabyte's fraction": (KEY, _value(66, data=f'{{"VNI":1.{"9" * HUGE}}}')),
    "a key of a megabyte": ("x" * HUGE, _value(66)),
    "a key of a megabyte that names a subnet": ("x" * HUGE + KEY, _value(66, kind='"host-gw"')),
    "a length of a megabyte": ("10.5.66.0-" + "2" * HUGE, _value(66)),
    "a key with a line feed": (KEY + "\n", _value(66)),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_lease_is_refused_by_name_and_the_others_go_on(what: str) -> None:
    table = _with(*HOSTILE[what])
    refused = table.refusals()
    assert _in_force(table) == HONEST
    assert len(refused) == 1
    assert all(len(one.node) < 1000 > len(one.reason) for one in refused), "a line of a log"
    msgspec.json.encode(refused)  # as `fwd status` does


@pytest.mark.parametrize("key", ["BackendData", "BackendV6Data", "PublicIP", "unknown"])
@pytest.mark.parametrize("how", ['{"a":@}', "[@]", '{"a":[@]}'])
def test_what_is_nested_in_a_value_ends_nobody(how: str, key: str) -> None:
    """At whichever depth: the reader of JSON gives up at one, and its caller must at no other."""
    start, _, end = how.partition("@")
    for depth in DEPTHS:
        nested = start * depth + "7" + end * depth
        text = f'{{"PublicIP":"192.168.0.66","BackendType":"vxlan","{key}":{nested}}}'
        table = _with(KEY, text.encode())
        assert _in_force(table) == HONEST
        (refused,) = table.refusals()
        assert refused.node in {"192.168.0.66", KEY}


def test_what_nobody_reads_may_be_nested_within_reason() -> None:
    deep = '{"a":' * 700 + "7" + "}" * 700
    value = decode_value(_value(66, data=f'{{"VtepMAC":"02:00:00:00:00:42","more":{deep}}}'))
    assert value.backends[4].vtep_mac == bytes.fromhex("020000000042")


@pytest.mark.parametrize(
    "key",
    [
        "1" * HUGE,
        "." * HUGE,
        "1" * HUGE + "-",
        "1" * HUGE + "-24x",
        "x" + "1." * (HUGE // 2) + "x",
        "1-" * (HUGE // 2),
        "1-" + "2" * HUGE + "x",
        "1" * (HUGE // 2) + "-" + "2" * (HUGE // 2) + "&",
        "1-1&" * (HUGE // 4),
        "1-1&" + "f" * HUGE,
        "1-1&" + "1" * HUGE,
        "1-1&" + "1:" * (HUGE // 2) + "-",
        "1-1&" + "1" * (HUGE // 2) + "-" + "1" * (HUGE // 2) + "x",
        "1-1&:-" * (HUGE // 6) + "x",
        "x" * HUGE + "-24",
        "10.5.34.0-" + "2" * HUGE,
        "10.5.34.0-24&" + "fd00:" * (HUGE // 5) + ":-64",
        "10.5.34.0-24&fd00::-" + "6" * HUGE,
        "1." * (HUGE // 2) + "1-24",
    ],
    ids=lambda key: f"{key[:16]}...{key[-8:]}",
)
def test_a_key_of_a_megabyte_is_read_in_steps_as_many_as_it_has_characters(key: str) -> None:
    """As many squared are some hours, in which the agent does nothing else."""
    with pytest.raises(ValueError, match=r"is no subnet|is not a CIDR"):
        parse_key(key)
