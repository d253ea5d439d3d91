# SPDX-License-Identifier: Apache-2.0
"""Leases into the one table that the plane holds.

The same leases give the same plan, whatever their order, so that a commit can be skipped when
nothing has changed and two nodes' tables can be compared.
"""

from collections.abc import Iterable

from fwd.model import Lease, Peer, Plan, Route


def make_plan(leases: Iterable[Lease], *, family: int) -> Plan:
    """Peers and routes of one family, sorted by prefix; several subnets may share a peer."""
    chosen = sorted(
        (lease for lease in leases if lease.family == family),
        key=lambda lease: (int(lease.subnet.network_address), lease.subnet.prefixlen),
    )
    index: dict[Peer, int] = {}
    routes = tuple(
        Route(
            prefix=lease.subnet,
            peer=index.setdefault(Peer(outer=lease.public_ip, mac=lease.vtep_mac), len(index)),
        )
        for lease in chosen
    )
    return Plan(peers=tuple(index), routes=routes)
