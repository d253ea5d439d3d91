# SPDX-License-Identifier: Apache-2.0
"""What an interface's address is, as far as anybody here asks, read from the kernel's message.

Asking for messages is `node.netlink`'s.
"""

from ipaddress import ip_address
from typing import Any

from msgspec import Struct

from fwd.model import IPV6, Address

_IFA_F_TEMPORARY, _IFA_F_DEPRECATED, _IFA_F_PERMANENT = 0x01, 0x20, 0x80
_IFA_F_OPTIMISTIC, _IFA_F_DADFAILED, _IFA_F_TENTATIVE = 0x04, 0x08, 0x40


class InterfaceAddress(Struct, frozen=True, kw_only=True):
    """One address as the kernel shows it."""

    index: int
    """Of its interface."""
    address: Address
    prefixlen: int
    is_permanent: bool
    is_temporary: bool
    """RFC 8981: made up for privacy and soon another one."""
    is_deprecated: bool
    is_probed: bool
    """Not to be used yet, or never: the kernel asks whether another host has it (RFC 4862, 5.4)."""


def of_message(message: Any) -> InterfaceAddress:  # noqa: ANN401
    """What pyroute2 has decoded of an RTM_NEWADDR."""
    # IFA_LOCAL is the own end of a point-to-point link, IFA_ADDRESS then the other one.
    address: Address = ip_address(message.get("local") or message.get("address"))
    # IFA_FLAGS has 32 bits, the header's field only 8.
    flags = int(message.get("flags") or 0)
    return InterfaceAddress(
        index=message["index"],
        address=address,
        prefixlen=message["prefixlen"],
        is_permanent=bool(flags & _IFA_F_PERMANENT),
        is_temporary=address.version == IPV6 and bool(flags & _IFA_F_TEMPORARY),
        is_deprecated=bool(flags & _IFA_F_DEPRECATED),
        is_probed=address.version == IPV6 and _is_probed(flags),
    )


def _is_probed(flags: int) -> bool:
    tentative = flags & (_IFA_F_TENTATIVE | _IFA_F_OPTIMISTIC) == _IFA_F_TENTATIVE
    return tentative or bool(flags & _IFA_F_DADFAILED)
