# SPDX-License-Identifier: Apache-2.0
"""What an earlier subnet or network has left on the tunnel device, which outlives the agent.

Our route is told by its protocol, an own address by such a route that covers it.  Whatever else is
there (an administrator's) stays.
"""

from collections.abc import Sequence

from msgspec import Struct

from fwd.model import Address, Network
from fwd.node.ifaddress import InterfaceAddress
from fwd.node.routetable import BOOT, INTO_TUNNEL, Held


class Leftovers(Struct, frozen=True):
    """What is to go."""

    routes: list[Held]
    """What they cover and the network does not is elsewhere now."""
    addresses: list[InterfaceAddress]
    """Others of the network, as with flannel, and those that came with the routes."""


def leftovers(
    routes: Sequence[Held],
    addresses: Sequence[InterfaceAddress],
    *,
    own: Address,
    network: Network,
    routed: bool,
) -> Leftovers:
    """Of what is on the device, for its own address; routed: the network leads into it."""
    bits = own.max_prefixlen
    others = [one for one in addresses if (one.address, one.prefixlen) != (own, bits)]
    # A route of the network that is not to be may be of a version that marked none.
    unwanted = set() if routed else {(network, INTO_TUNNEL), (network, BOOT)}
    old = [
        route
        for route in routes
        if (route.prefix, route.protocol) in unwanted
        or (route.protocol == INTO_TUNNEL and route.prefix != network)
    ]
    came_with = [
        one
        for one in others
        if one.prefixlen == bits
        and not one.address.is_link_local
        and any(one.address in route.prefix for route in old)
    ]
    return Leftovers(old, [one for one in others if one.address in network or one in came_with])
