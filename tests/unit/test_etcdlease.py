# SPDX-License-Identifier: Apache-2.0
"""Keys and values as flannel writes and reads them, byte for byte."""

import json
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwd.core.backenddata import BackendData
from fwd.core.etcdlease import (
    config_key,
    decode_value,
    encode_value,
    make_key,
    parse_key,
    subnets_prefix,
)
from fwd.model import IPV4, IPV6, Address, Lease, Network

MAC = bytes.fromhex("c6d2326f8f44")
OF_THE_SPEC = (
    b'{"PublicIP":"192.168.64.3","PublicIPv6":null,"BackendType":"vxlan",'
    b'"BackendData":{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44"}}'
)


def _lease(subnet: str, public_ip: str) -> Lease:
    return Lease("n1", ip_network(subnet), ip_address(public_ip), MAC, vni=1)


@st.composite
def _subnets(draw: st.DrawFn) -> dict[int, Network]:
    found: dict[int, Network] = {}
    families = draw(st.sampled_from([(IPV4,), (IPV6,), (IPV4, IPV6)]))
    for family, bits in ((IPV4, 32), (IPV6, 128)):
        if family in families:
            length = draw(st.integers(1, bits - 1))
            leading = draw(st.integers(0, 2**length - 1)) << (bits - length)
            found[family] = ip_network((leading.to_bytes(bits // 8), length))
    return found


@given(_subnets())
def test_a_key_names_what_it_was_made_of(subnets: dict[int, Network]) -> None:
    assert parse_key(make_key(subnets)) == subnets


@pytest.mark.parametrize(
    ("key", "subnets"),
    [
        ("10.5.34.0-24", {4: "10.5.34.0/24"}),
        ("10.12.13.0-24&fd00:12:13::-56", {4: "10.12.13.0/24", 6: "fd00:12:13::/56"}),
        ("0.0.0.0-0&fd00:12:13::-56", {6: "fd00:12:13::/56"}),
    ],
)
def test_keys_of_flannel(key: str, subnets: dict[int, str]) -> None:
    expected = {family: ip_network(text) for family, text in subnets.items()}
    assert parse_key(key) == expected
    assert make_key(expected) == key


@pytest.mark.parametrize(
    ("prefix", "config", "subnets"),
    [
        ("/coreos.com/network", "/coreos.com/network/config", "/coreos.com/network/subnets/"),
        ("//a//b/", "/a/b/config", "/a/b/subnets/"),
        ("a", "a/config", "a/subnets/"),
        ("", "config", "subnets/"),
        ("/", "/config", "/subnets/"),
    ],
)
def test_the_prefix_is_joined_as_go_does(prefix: str, config: str, subnets: str) -> None:
    assert (config_key(prefix), subnets_prefix(prefix)) == (config, subnets)


def test_a_key_may_have_more_before_it_as_in_flannel() -> None:
    assert parse_key("old-10.5.34.0-24") == {4: ip_network("10.5.34.0/24")}


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("config", "is no subnet"),
        ("10.5.34.0-24/x", "is no subnet"),
        ("10.5.34.0-", "is no subnet"),
        ("10.5.34.0-32", "no IPv4 subnet of a node"),
        ("10.5.34.0-33", "is not a CIDR"),
        ("10.5.34.7-24", "host bits"),
        ("10.5.34-24", "is not a CIDR"),
        ("10.5.34.0-24&fd00::-128", "no IPv6 subnet of a node"),
        ("10.5.34.0-24&fd00::1-64", "host bits"),
    ],
)
def test_what_is_wrong_with_a_key_is_said(key: str, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        parse_key(key)


@st.composite
def _part(draw: st.DrawFn, family: int) -> tuple[str, Network | None]:
    """An address and a length, and the subnet that they are, if they are one."""
    bits = 32 if family == IPV4 else 128
    length = draw(st.integers(0, bits + 1))
    whole = draw(st.ip_addresses(v=4) if family == IPV4 else st.ip_addresses(network="fc00::/7"))
    network = ip_network((whole, min(length, bits)), strict=False)
    address = draw(st.sampled_from([whole, network.network_address, network.network_address]))
    fits = address == network.network_address and length < bits
    return f"{address}-{length}", network if fits else None


@st.composite
def _keys(draw: st.DrawFn) -> tuple[str, dict[int, Network] | None]:
    """Of flannel's form; and what they name, if nothing is wrong with them."""
    words, subnets = [], {}
    for family in draw(st.sampled_from([(IPV4,), (IPV4, IPV6)])):
        word, subnet = draw(_part(family))
        words.append(word)
        subnets[family] = subnet
    key = draw(st.sampled_from(["", "old-", "/"])) + "&".join(words)
    if None in subnets.values():
        return key, None
    return key, {f: one for f, one in subnets.items() if one and one != ip_network("0.0.0.0/0")}


@given(_keys())
def test_a_key_is_taken_at_its_word_or_refused(
    drawn: tuple[str, dict[int, Network] | None],
) -> None:
    key, subnets = drawn
    if subnets is None:
        with pytest.raises(ValueError, match=r"CIDR|host bits|no IPv[46] subnet"):
            parse_key(key)
    else:
        assert parse_key(key) == subnets
        assert key.endswith(make_key(subnets))


@given(st.text(max_size=40))
def test_no_key_breaks_it(key: str) -> None:
    with suppress(ValueError):
        assert parse_key(make_key(parse_key(key))) == parse_key(key)


def test_a_value_is_flannels_text() -> None:
    lease = _lease("10.5.34.0/24", "192.168.64.3")
    assert encode_value({4: lease.public_ip}, {4: lease}) == OF_THE_SPEC


def test_a_value_of_both_families() -> None:
    leases = {4: _lease("10.5.34.0/24", "192.168.64.3"), 6: _lease("fd00:5::/64", "fd00::3")}
    public_ips = {family: lease.public_ip for family, lease in leases.items()}
    data = b'{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44"}'
    assert encode_value(public_ips, leases) == (
        b'{"PublicIP":"192.168.64.3","PublicIPv6":"fd00::3","BackendType":"vxlan",'
        b'"BackendData":' + data + b',"BackendV6Data":' + data + b"}"
    )


def test_a_value_without_a_backend_is_one_of_flannels_reservations() -> None:
    assert encode_value({4: ip_address("1.2.3.4")}) == b'{"PublicIP":"1.2.3.4","PublicIPv6":null}'
    assert encode_value({6: ip_address("fd00::1")}) == (
        b'{"PublicIP":"0.0.0.0","PublicIPv6":"fd00::1"}'
    )


@given(
    st.sampled_from([(4,), (6,), (4, 6)]),
    st.integers(1, 2**32 - 1),
    st.integers(1, 2**128 - 1),
    st.integers(0, 2**24 - 1),
    st.booleans(),
)
def test_a_value_says_what_it_was_made_of(
    families: tuple[int, ...],
    own4: int,
    own6: int,
    vni: int,
    has_backend: bool,  # noqa: FBT001
) -> None:
    addresses: dict[int, Address] = {4: IPv4Address(own4), 6: IPv6Address(own6)}
    subnets = {4: ip_network("10.5.34.0/24"), 6: ip_network("fd00:5::/64")}
    leases = {
        family: Lease("n1", subnets[family], addresses[family], MAC, vni) for family in families
    }
    public_ips = {family: addresses[family] for family in families}
    text = encode_value(public_ips, leases if has_backend else None)
    assert b" " not in text
    json.loads(text)
    value = decode_value(text)
    assert value.public_ips == public_ips
    assert value.backend_type == ("vxlan" if has_backend else "")
    expected = {family: BackendData(MAC, vni) for family in families} if has_backend else {}
    assert value.backends == expected


def test_a_value_is_read_as_go_reads_it() -> None:
    value = decode_value(
        b' {"publicip": "1.1.1.1", "PublicIP" : "1.2.3.4", "publicIPv6": null, "more": [1],'
        b' "BackendType": "vxlan", "backenddata": {"VtepMAC": "C6-D2-32-6F-8F-44", "x": {}}}\n'
    )
    assert value.public_ips == {4: ip_address("1.2.3.4")}
    assert value.backends == {4: BackendData(MAC)}


def test_an_ipv4_address_may_be_written_within_ipv6() -> None:
    value = decode_value(b'{"PublicIP":"::ffff:192.0.2.2","PublicIPv6":"fd00::1"}')
    assert value.public_ips == {4: ip_address("192.0.2.2"), 6: ip_address("fd00::1")}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (b"", "Expecting value"),
        (b"[]", "must be an object"),
        (b'{"PublicIP": 7}', "PublicIP: must be a string"),
        (b'{"PublicIP": "1.2.3"}', "not an IP address"),
        (b'{"PublicIP": "fd00::1"}', "not an IPv4 address"),
    ],
)
def test_what_is_wrong_with_a_value_is_said(text: bytes, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        decode_value(text)


def test_backend_data_that_cannot_be_read_leaves_the_rest() -> None:
    value = decode_value(b'{"PublicIP":"1.2.3.4","BackendType":"vxlan","BackendData":{"VNI":1}}')
    assert value.public_ips == {4: ip_address("1.2.3.4")}
    assert value.faults == {4: "VtepMAC is missing"}


@given(st.binary(max_size=60))
def test_no_value_breaks_it(text: bytes) -> None:
    try:
        decode_value(text)
    except ValueError:
        return
