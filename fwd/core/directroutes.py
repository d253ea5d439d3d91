# SPDX-License-Identifier: Apache-2.0
"""DirectRouting: which peers' subnets the kernel routes by itself, because they are on our link.

Pure decision: what is on-link the kernel says, by route lookups, and `node.directroutes` asks it.
Every peer stays in the tunnel's table, too.  A kernel route is more specific than the one into the
tunnel, so a peer moves to the link by one route more, and into the tunnel by one less, without a
moment in which it has no way.

flannel decides once, when a lease comes, and forgets on which side (spec 5.3); here the decision is
made anew whenever the underlay may have changed, and what is there is compared with it.
"""

from collections.abc import Container, Iterable, Mapping

from msgspec import Struct

from fwd.model import Address, Lease, Network


class Changes(Struct, frozen=True):
    """What makes the kernel's routes the wanted ones: first some go, then others come."""

    removed: tuple[Network, ...]
    added: Mapping[Network, Address]


def wanted_routes(
    leases: Iterable[Lease], *, family: int, on_link: Container[Address]
) -> dict[Network, Address]:
    """Subnet to gateway: the peer itself."""
    return {
        lease.subnet: lease.public_ip
        for lease in leases
        if lease.family == family and lease.public_ip in on_link
    }


def changes(wanted: Mapping[Network, Address], held: Mapping[Network, Address | None]) -> Changes:
    """From the routes that are there, ours only, to the wanted ones.

    A route without one gateway (None) is ours, and not as we write it.
    """
    return Changes(
        removed=tuple(
            prefix for prefix, via in held.items() if via is None or wanted.get(prefix) != via
        ),
        added={prefix: via for prefix, via in wanted.items() if held.get(prefix) != via},
    )
