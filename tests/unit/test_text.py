# SPDX-License-Identifier: Apache-2.0
"""Addresses, CIDRs and MACs as Go reads them."""

from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwd.core import text


@pytest.mark.parametrize(
    ("written", "network"),
    [
        ("10.244.3.7/16", "10.244.0.0/16"),
        ("10.244.0.0/16", "10.244.0.0/16"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("2001:CAFE:42::1/56", "2001:cafe:42::/56"),
        ("::ffff:10.0.0.0/112", "::ffff:a00:0/112"),
    ],
)
def test_a_cidr_is_reduced_to_its_network(written: str, network: str) -> None:
    assert text.parse_cidr(written) == ip_network(network)


@pytest.mark.parametrize(
    "written",
    [
        *("", "10.244.0.0", "10.244.0.0/", "10.244.0.0/33", "10.244.0.0/255.255.0.0"),
        *("10.244.0.0/16 ", " 10.244.0.0/16", "10.244.0/16", "010.244.0.0/16", "10.244.0.0/+16"),
        *("fe80::1%eth0/64", "2001:db8::/129", "::/0/0", "10.244.0.0/١٦"),
    ],
)
def test_what_go_refuses_is_refused_and_quoted(written: str) -> None:
    with pytest.raises(ValueError, match="is not a CIDR") as raised:
        text.parse_cidr(written)
    assert repr(written) in str(raised.value)


def test_host_bits_are_refused_where_a_subnet_is_wanted() -> None:
    assert text.parse_network("10.244.1.0/24") == ip_network("10.244.1.0/24")
    with pytest.raises(ValueError, match=r"host bits set, its network is 10\.244\.1\.0/24"):
        text.parse_network("10.244.1.1/24")


@pytest.mark.parametrize(
    "written",
    ["", "1.2.3", "1.2.3.4/32", "fe80::1%eth0", "host", "1.2.3.04", "::ffff:1.2.3.4%eth0"],
)
def test_what_is_no_address_is_refused(written: str) -> None:
    for wanted in (0, 4, 6):
        with pytest.raises(ValueError, match="is not an IP address"):
            text.parse_address(written, wanted=wanted)


@given(st.ip_addresses(v=4))
def test_ipv4_within_ipv6_is_ipv4_where_that_is_wanted(address: IPv4Address) -> None:
    as_go_writes_it = f"::ffff:{address}"
    for written in (str(address), as_go_writes_it, f"::FFFF:{int(address) >> 16:x}:0"):
        found = text.parse_address(written, wanted=4)
        assert isinstance(found, IPv4Address)
    assert text.parse_address(as_go_writes_it, wanted=4) == address
    for wanted in (0, 6):
        assert text.parse_address(as_go_writes_it, wanted=wanted) == IPv6Address(as_go_writes_it)


def test_other_ipv6_addresses_stay_what_they_are() -> None:
    for written in ("::1.2.3.4", "64:ff9b::1.2.3.4", "::fffe:1.2.3.4", "::1"):
        assert text.parse_address(written, wanted=4) == IPv6Address(written)


def test_a_public_ip_is_of_its_family_or_refused_in_flannels_words() -> None:
    assert text.parse_public_ip("::ffff:192.0.2.2", 4) == IPv4Address("192.0.2.2")
    assert text.parse_public_ip("2001:db8::1", 6) == IPv6Address("2001:db8::1")
    for written in ("", "::1", "host"):
        with pytest.raises(ValueError, match=f"^invalid public IP address: {written}$"):
            text.parse_public_ip(written, 4)
    for written in ("", "192.0.2.2", "host"):
        with pytest.raises(ValueError, match=f"^invalid public IPv6 address: {written}$"):
            text.parse_public_ip(written, 6)


@pytest.mark.parametrize(
    "written", ["02:00:00:00:0a:0F", "02-00-00-00-0A-0f", "0200.0000.0a0F", "0200.0000.0A0f"]
)
def test_a_mac_has_three_forms(written: str) -> None:
    assert text.parse_mac(written) == b"\x02\0\0\0\x0a\x0f"


@pytest.mark.parametrize(
    "written",
    [
        *("", "02:00:00:00:00", "02:00:00:00:00:00:00", "02:00:00-00:00:00", "020000000000"),
        *("2:0:0:0:0:1", "02:00:00:00:00:0g", "02:00:00:00:00:01 ", "0200.0000"),
    ],
)
def test_what_is_no_mac_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match="is not a MAC"):
        text.parse_mac(written)


@given(st.binary(min_size=6, max_size=6))
def test_a_mac_survives_its_text(mac: bytes) -> None:
    written = text.format_mac(mac)
    assert text.parse_mac(written) == mac
    assert written == ":".join(f"{byte:02x}" for byte in mac)


@given(st.binary(min_size=6, max_size=6))
def test_a_vtep_has_a_unicast_mac_that_is_not_zero(mac: bytes) -> None:
    usable = mac != bytes(6) and mac[0] % 2 == 0
    assert (text.mac_fault(mac) is None) == usable


def test_the_fault_of_a_mac_has_a_name() -> None:
    assert text.mac_fault(bytes(6)) == "is zero"
    assert text.mac_fault(b"\xff" * 6) == "is the broadcast address"
    assert text.mac_fault(b"\x01\0\x5e\0\0\x01") == "is a multicast address"
    assert text.mac_fault(b"\x02") == "is 1 bytes long, not 6"
