# SPDX-License-Identifier: Apache-2.0
"""An address as sockets want it."""

from typing import TypeAlias

from fwd.model import IPV6, Address

Endpoint: TypeAlias = tuple[str, int] | tuple[str, int, int, int]


def endpoint(address: Address, port: int, *, scope: int) -> Endpoint:
    """An IPv6 address that is link-local means nothing without its interface, number `scope`."""
    if address.version == IPV6 and address.is_link_local:
        return str(address), port, 0, scope
    return str(address), port
