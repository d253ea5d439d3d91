# SPDX-License-Identifier: Apache-2.0
"""Which peers the kernel reaches without the tunnel."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from hypothesis import given
from hypothesis import strategies as st

from fwd.core.directroutes import changes, wanted_routes
from fwd.model import IPV4, IPV6, Address, Lease, Network

PREFIXES = st.integers(0, 9).map(lambda number: IPv4Network((0x0AF40000 + (number << 8), 24)))
GATEWAYS = st.integers(1, 5).map(lambda number: IPv4Address(0xC0A80000 + number))


def lease(subnet: Network, public_ip: Address) -> Lease:
    return Lease(node="n", subnet=subnet, public_ip=public_ip, vtep_mac=b"\2\0\0\0\0\1", vni=1)


@given(st.dictionaries(PREFIXES, GATEWAYS), st.dictionaries(PREFIXES, st.none() | GATEWAYS))
def test_changes_lead_from_what_is_to_what_must_be(
    wanted: dict[Network, Address], held: dict[Network, Address | None]
) -> None:
    todo = changes(wanted, held)
    after = {prefix: via for prefix, via in held.items() if prefix not in todo.removed}
    assert after | dict(todo.added) == wanted
    assert not after.keys() & todo.added.keys(), "none is overwritten"
    again = changes(wanted, dict(wanted))
    assert not again.added
    assert not again.removed


def test_only_peers_on_the_link_and_of_the_family() -> None:
    near, far = IPv4Address("192.168.0.1"), IPv4Address("10.9.9.9")
    six = IPv6Address("fd00::1")
    leases = [
        lease(IPv4Network("10.244.1.0/24"), near),
        lease(IPv4Network("10.244.2.0/24"), far),
        lease(IPv6Network("fc00:0:0:1::/64"), six),
    ]
    on_link: set[Address] = {near, six}
    assert wanted_routes(leases, family=IPV4, on_link=on_link) == {leases[0].subnet: near}
    assert wanted_routes(leases, family=IPV6, on_link=on_link) == {leases[2].subnet: six}
