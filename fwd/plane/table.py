# SPDX-License-Identifier: Apache-2.0
"""A plan as the bytes that C takes, and as bytes that may wait elsewhere for another process."""

import struct
from collections.abc import Mapping

from fwd._plane import ffi
from fwd.model import Address, Plan
from fwd.plane.peers import SHARED

_PEER = struct.Struct("=16s6s2xI")
_ROUTE = struct.Struct("=16sIB3x")
assert _PEER.size == ffi.sizeof("struct vx_peer")
assert _ROUTE.size == ffi.sizeof("struct vx_route")
_HEADER = struct.Struct("=8sII")
_MAGIC = b"fwdtab\0\1"
"""With the layout's number."""


def pack_peers(plan: Plan, slots: Mapping[Address, int]) -> bytes:
    """struct vx_peer for each, with its slot."""
    return b"".join(
        _PEER.pack(peer.outer.packed, peer.mac, slots.get(peer.outer, SHARED))
        for peer in plan.peers
    )


def pack_routes(plan: Plan) -> bytes:
    """struct vx_route for each."""
    return b"".join(
        _ROUTE.pack(route.prefix.network_address.packed, route.peer, route.prefix.prefixlen)
        for route in plan.routes
    )


def pack_table(plan: Plan) -> bytes:
    """The whole of it.  Its peers count in the slot of those that have none."""
    header = _HEADER.pack(_MAGIC, len(plan.peers), len(plan.routes))
    return header + pack_peers(plan, {}) + pack_routes(plan)


def unpack_table(table: bytes) -> tuple[bytes, bytes]:
    """Peers and routes of pack_table().  ValueError if it is anything else."""
    if len(table) < _HEADER.size:
        raise ValueError("no table")
    magic, peers, routes = _HEADER.unpack_from(table)
    middle = _HEADER.size + peers * _PEER.size
    if magic != _MAGIC or len(table) != middle + routes * _ROUTE.size:
        raise ValueError("no table of this version")
    return table[_HEADER.size : middle], table[middle:]
