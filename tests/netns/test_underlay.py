# SPDX-License-Identifier: Apache-2.0
"""Which interface is chosen, by each of the operator's ways, and what is said when none is.

One namespace with real devices; the choice runs in a thread that has moved there.  Following is
tests/netns/test_agent_underlay.py's.
"""

from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

import pytest

from fwd.model import IPV4, IPV6, ConfigError
from fwd.node import underlay
from fwd.node.underlay import Selection, Underlay
from tests.netns.agent_support import Namespace
from tests.netns.names import own

pytestmark = [pytest.mark.netns, pytest.mark.root]

NAME = own("ag-choice")
BESIDE_4: dict[str, Any] = {"family": IPV6, "others": (IPV4,)}
BESIDE_6: dict[str, Any] = {"family": IPV4, "others": (IPV6,)}
NONE = "Failed to find any valid interface to use: "
NOT_FOUND = "Failed to find interface to use that matches the interfaces and/or regexes provided: "


@pytest.fixture(scope="module")
def there() -> Iterator[Namespace]:
    made = Namespace(NAME)
    try:
        for name, mtu in (("e0", 1500), ("e1", 1400), ("e2", 1300)):
            made.ip("link", "add", name, "type", "bridge")
            made.ip("link", "set", name, "mtu", str(mtu), "up")
        # With a carrier: the kernel asks for duplicates of its addresses, which takes a while.
        made.ip("link", "add", "e3", "type", "veth", "peer", "name", "e4")
        made.ip("link", "set", "e4", "up")
        made.ip("link", "set", "e3", "up")
        made.ip("address", "add", "2001:db8:3::1/64", "dev", "e3")
        for address, device in (
            ("192.168.7.1/24", "e0"),
            ("192.168.7.9/24", "e0"),
            ("10.1.0.1/24", "e1"),
            ("2001:db8:1::1/64", "e0"),
        ):
            made.ip(
                "address",
                "add",
                address,
                "dev",
                device,
                "nodad" if ":" in address else "noprefixroute",
            )
        made.ip("address", "add", "169.254.1.1/16", "dev", "e1", "scope", "link")
        made.ip("route", "add", "192.168.7.0/24", "dev", "e0")
        made.ip("route", "add", "10.9.0.0/16", "dev", "e0", "src", "192.168.7.9")
        yield made
    finally:
        made.remove()


@pytest.fixture
def default_route(there: Namespace) -> Iterator[None]:
    there.ip("route", "add", "default", "dev", "e1")
    yield
    there.ip("route", "del", "default")


def choose(there: Namespace, *, family: int = IPV4, **given: Any) -> Underlay:  # noqa: ANN401
    """In the namespace."""
    for name in ("public_ip", "lease_ip", "beside"):
        if name in given:
            given[name] = ip_address(given[name])
    return there.within(lambda: underlay.choose(Selection(family=family, **given)))


@pytest.mark.parametrize(
    ("given", "name", "address"),
    [
        ({"interfaces": ("e0",)}, "e0", "192.168.7.1"),
        ({"interfaces": ("e1",)}, "e1", "10.1.0.1"),
        ({"interfaces": ("192.168.7.9",)}, "e0", "192.168.7.9"),
        ({"interfaces": ("none", "e2", "10.1.0.7", "e1", "e0")}, "e1", "10.1.0.1"),
        ({"interfaces": ("e0",), "public_ip": "192.168.7.9"}, "e0", "192.168.7.9"),
        ({"interfaces": ("e0",), "public_ip": "203.0.113.1"}, "e0", "192.168.7.1"),
        ({"patterns": (r"^10\.1\.",)}, "e1", "10.1.0.1"),
        # Not lo, whose addresses are nobody's to send to.
        ({"patterns": (".",)}, "e0", "192.168.7.1"),
        ({"patterns": ("::1$",), "family": IPV6}, "e0", "2001:db8:1::1"),
        ({"interfaces": ("lo", "127.0.0.1", "e1")}, "e1", "10.1.0.1"),
        ({"patterns": (r"7\.9$",)}, "e0", "192.168.7.9"),
        ({"patterns": ("(", "[[:digit:]]", "^e[12]$")}, "e1", "10.1.0.1"),
        ({"patterns": ("a{99999999999}", "(" * 3000 + ")" * 3000, "^e1$")}, "e1", "10.1.0.1"),
        ({"patterns": ("a{99999999999}",), "can_reach": "10.9.1.1"}, "e0", "192.168.7.9"),
        ({"patterns": ("e",), "interfaces": ("e1",)}, "e1", "10.1.0.1"),
        ({"can_reach": "192.168.7.77"}, "e0", "192.168.7.1"),
        ({"can_reach": "10.9.1.1"}, "e0", "192.168.7.9"),
        ({"can_reach": "10.9.1.1", "interfaces": ("none",)}, "e0", "192.168.7.9"),
        ({"public_ip": "192.168.7.9"}, "e0", "192.168.7.9"),
        ({"lease_ip": "192.168.7.9", "by_lease": True}, "e0", "192.168.7.9"),
        # Peers send to an address of another interface, or to an outside one of that.
        ({"interfaces": ("e1",), "public_ip": "192.168.7.9"}, "e1", "192.168.7.9"),
        ({"public_ip": "10.1.0.1", "lease_ip": "192.168.7.1"}, "e1", "192.168.7.1"),
        ({"public_ip": "10.1.0.1", "lease_ip": "203.0.113.1"}, "e1", "10.1.0.1"),
        ({"interfaces": ("e0",), "family": IPV6}, "e0", "2001:db8:1::1"),
        ({"interfaces": ("2001:db8:1:0::1",), "family": IPV6}, "e0", "2001:db8:1::1"),
        # With both families on, a word about one says which interface it is for the other.
        ({"interfaces": ("192.168.7.9",), **BESIDE_4}, "e0", "2001:db8:1::1"),
        ({"interfaces": ("2001:db8:1::1",), **BESIDE_6}, "e0", "192.168.7.1"),
        ({"patterns": (r"7\.9$",), **BESIDE_4}, "e0", "2001:db8:1::1"),
        ({"patterns": (r"^10\.1\.|db8",), **BESIDE_4}, "e0", "2001:db8:1::1"),
        ({"can_reach": "192.168.7.77", **BESIDE_4}, "e0", "2001:db8:1::1"),
        ({"beside": "192.168.7.9", **BESIDE_4}, "e0", "2001:db8:1::1"),
        ({"beside": "10.1.0.1", "public_ip": "2001:db8:1::1", **BESIDE_4}, "e0", "2001:db8:1::1"),
        ({"interfaces": ("e3",), "family": IPV6}, "e3", "2001:db8:3::1"),
    ],
)
def test_choice(there: Namespace, given: dict[str, Any], name: str, address: str) -> None:
    chosen = choose(there, **given)
    assert (chosen.name, str(chosen.address)) == (name, address)
    assert chosen.mtu == {"e0": 1500, "e1": 1400, "e3": 1500}[name]


@pytest.mark.usefixtures("default_route")
def test_the_default_route_where_nothing_is_said(there: Namespace) -> None:
    chosen = choose(there)
    assert (chosen.name, str(chosen.address), chosen.is_fixed) == ("e1", "10.1.0.1", False)
    assert choose(there, lease_ip="203.0.113.1") == chosen
    overwritten = choose(there, lease_ip="192.168.7.9")
    assert (overwritten.name, str(overwritten.address)) == ("e1", "192.168.7.9")
    assert overwritten.mtu == chosen.mtu


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, NONE + "failed to get default interface: unable to find default route "),
        (
            {"family": IPV6},
            NONE + "failed to get default v6 interface: unable to find default v6 route",
        ),
        (
            {"public_ip": "203.0.113.1"},
            NONE + "error looking up interface 203.0.113.1: no interface with given IP found",
        ),
        (
            {"interfaces": ("none",)},
            NOT_FOUND + "error looking up interface none: route ip+net: no such",
        ),
        ({"interfaces": ("e2",)}, NOT_FOUND + "failed to find IPv4 address for interface e2"),
        (
            {"interfaces": ("10.0.0.7",)},
            NOT_FOUND + "error looking up interface 10.0.0.7: no interface with given IP found",
        ),
        ({"patterns": ("(",)}, NOT_FOUND + "could not compile the IP address regex '(': "),
        (
            {"patterns": ("[[:alpha:]]",)},
            NOT_FOUND + "could not compile the IP address regex '[[:alpha:]]': classes like",
        ),
        (
            {"patterns": ("^172",)},
            NOT_FOUND + "Could not match pattern ^172 to any of the available network interfaces ("
            "e0:192.168.7.1,192.168.7.9, e1:169.254.1.1,10.1.0.1)",
        ),
        (
            {"interfaces": ("2001:db8:1::1",)},
            NOT_FOUND + "error looking up interface 2001:db8:1::1: IPv6 is not enabled",
        ),
        ({"can_reach": "x"}, NOT_FOUND + "failed to get ifcanreach based interface: x: "),
        ({"can_reach": "127.0.0.1"}, NOT_FOUND + "failed to find IPv4 address for interface lo"),
        ({"public_ip": "127.0.0.1"}, NONE + "error looking up interface 127.0.0.1: no interface"),
        ({"can_reach": "8.8.8.8"}, NOT_FOUND + "failed to get ifcanreach based interface: 8"),
    ],
)
def test_what_is_said_when_there_is_none(
    there: Namespace, given: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        choose(there, **given)
    assert str(raised.value).startswith(says)
    assert "\n" not in str(raised.value)


def test_ipv6_has_a_default_route_of_its_own(there: Namespace) -> None:
    there.ip("-6", "route", "add", "default", "dev", "e0")
    try:
        assert str(choose(there, **BESIDE_4).address) == "2001:db8:1::1"
    finally:
        there.ip("-6", "route", "del", "default")


DEFAULTS: dict[int, tuple[tuple[str, ...], tuple[str, ...]]] = {
    IPV4: (("via", "192.168.7.2", "dev", "e0"), ("via", "10.1.0.2", "dev", "e1", "onlink")),
    IPV6: (("via", "2001:db8:1::2", "dev", "e0"), ("via", "2001:db8:3::2", "dev", "e3")),
}
EACH_FAMILY = pytest.mark.parametrize("family", DEFAULTS)


@EACH_FAMILY
def test_default_routes_of_other_tables_are_none(there: Namespace, family: int) -> None:
    """Those of VPNs: wg-quick has 51820, tailscale 52."""
    beside, ours = DEFAULTS[family]
    words = [f"-{family}", "route", "add", "default"]
    try:
        for table in ("51820", "52", "100"):
            there.ip(*words, *beside, "table", table)
        with pytest.raises(ConfigError, match=r"unable to find default (v6 )?route"):
            choose(there, family=family)
        there.ip(*words, *ours)
        assert choose(there, family=family).name == ours[3]
    finally:
        for table in ("51820", "52", "100", "main"):
            there.ip(f"-{family}", "route", "flush", "exact", "default", "table", table)


@EACH_FAMILY
def test_the_first_of_several_hops(there: Namespace, family: int) -> None:
    first, second = DEFAULTS[family]
    hops = ("nexthop", *first, "nexthop", *second)
    there.ip(f"-{family}", "route", "add", "default", *hops)
    try:
        assert choose(there, family=family).name == "e0"
    finally:
        there.ip(f"-{family}", "route", "del", "default", *hops)


def follow(there: Namespace, before: Underlay, **given: Any) -> Underlay:  # noqa: ANN401
    return there.within(lambda: underlay.follow(before, Selection(**given)))


def test_a_lost_address_is_not_followed_to_a_link_local_one(there: Namespace) -> None:
    """An interface that was down has that one first, and the other when somebody gives it."""
    before = choose(there, interfaces=("e3",), family=IPV6)
    there.ip("address", "del", "2001:db8:3::1/64", "dev", "e3")
    with pytest.raises(ConfigError, match=r"^2001:db8:3::1 is gone from e3, which has fe80::"):
        follow(there, before, family=IPV6)
    there.ip("address", "add", "2001:db8:3::2/64", "dev", "e3", "nodad")
    assert str(follow(there, before, family=IPV6).address) == "2001:db8:3::2"


def test_a_hop_without_an_interface(there: Namespace) -> None:
    there.ip("route", "add", "unreachable", "default")
    try:
        with pytest.raises(ConfigError, match="default route"):
            choose(there)
    finally:
        there.ip("route", "del", "unreachable", "default")
