# SPDX-License-Identifier: Apache-2.0
"""Which peers the kernel reaches without the tunnel."""

from ipaddress import IPv4Address, IPv4Network

from hypothesis import given
from hypothesis import strategies as st

from fwd.core.directroutes import changes, wanted_routes
from fwd.model import Address, Lease, Network
from tests.unit.in_family import EACH_FAMILY, said

pytestmark = EACH_FAMILY

PREFIXES = st.integers(0, 9).map(lambda number: IPv4Network((0x0AF40000 + (number << 8), 24)))
GATEWAYS = st.integers(1, 5).map(lambda number: IPv4Address(0xC0A80000 + number))


def lease(subnet: Network, public_ip: Address) -> Lease:
    return Lease(node="n", subnet=subnet, public_ip=public_ip, vtep_mac=b"\2\0\0\0\0\1", vni=1)


@given(st.dictionaries(PREFIXES, GATEWAYS), st.dictionaries(PREFIXES, st.none() | GATEWAYS))
def test_changes_lead_from_what_is_to_what_must_be(
    family: int, wanted: dict[Network, Address], held: dict[Network, Address | None]
) -> None:
    wanted, held = said(family, wanted), said(family, held)
    todo = changes(wanted, held)
    after = {prefix: via for prefix, via in held.items() if prefix not in todo.removed}
    assert after | dict(todo.added) == wanted
    assert not after.keys() & todo.added.keys(), "none is overwritten"
    again = changes(wanted, dict(wanted))
    assert not again.added
    assert not again.removed


def test_only_peers_on_the_link_and_of_the_family(family: int) -> None:
    near, far = IPv4Address("192.168.0.1"), IPv4Address("192.168.9.9")
    leases = [
        lease(IPv4Network("10.244.1.0/24"), near),
        lease(IPv4Network("10.244.2.0/24"), far),
    ]
    ours, others = said(family, leases), said(10 - family, leases)
    on_link = {ours[0].public_ip, others[0].public_ip}
    wanted = wanted_routes([*others, *ours], family=family, on_link=on_link)
    assert wanted == {ours[0].subnet: ours[0].public_ip}
