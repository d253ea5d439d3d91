# SPDX-License-Identifier: Apache-2.0
"""What an earlier subnet or network has left on the tunnel device, which outlives the agent.

Nothing marks it.  A route is told by being just as `node.netlink` writes it and by what it covers:
some of the network that is in force, or another host's address on the device, which is then the one
that the agent had with it.  Whatever is not so (an administrator's) stays.
"""

from collections.abc import Sequence

from msgspec import Struct

from fwd.model import Address, Network
from fwd.node.ifaddress import InterfaceAddress
from fwd.node.routetable import Held


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
    alone = [one for one in others if one.prefixlen == bits and not one.address.is_link_local]
    old = [
        route
        for route in routes
        if route.is_like_ours
        and not (routed and route.prefix == network)
        and (route.prefix.overlaps(network) or any(one.address in route.prefix for one in alone))
    ]
    came_with = [one for one in alone if any(one.address in route.prefix for route in old)]
    return Leftovers(old, [one for one in others if one.address in network or one in came_with])
