# SPDX-License-Identifier: Apache-2.0
"""Which capabilities an agent keeps, and why: all others it gives up before it does anything.

System calls are another list, cext/syscalls.def.
"""

from collections.abc import Iterable

from msgspec import Struct

PRIVILEGED_PORTS = 1024
"""Ports below are for CAP_NET_BIND_SERVICE."""


class Capability(Struct, frozen=True):
    """One that is kept if there is reason to.  Kept only if the process has it at all."""

    name: str
    number: int
    """linux/capability.h."""
    reason: str
    for_programs_only: bool = False
    """Permitted, so that programs have it, and not in effect in the agent itself."""


NET_ADMIN = Capability(
    name="net_admin",
    number=12,
    reason="TUN device, addresses, routes, larger socket buffers; iptables' and nft's rules",
)
NET_RAW = Capability(
    name="net_raw",
    number=13,
    reason="legacy iptables asks the kernel through a raw socket",
    for_programs_only=True,
)
NET_BIND_SERVICE = Capability(
    name="net_bind_service",
    number=10,
    reason="--healthz-port below 1024",
)

ALL = (NET_ADMIN, NET_RAW, NET_BIND_SERVICE)


def kept(*, healthz_port: int) -> tuple[Capability, ...]:
    """What an agent of these settings needs."""
    below = 0 < healthz_port < PRIVILEGED_PORTS
    return (NET_ADMIN, NET_RAW, *((NET_BIND_SERVICE,) if below else ()))


def bits(capabilities: Iterable[Capability]) -> int:
    """As the kernel counts them."""
    return sum(1 << one.number for one in capabilities)


def names(mask: int) -> tuple[str, ...]:
    """Of a set of the kernel's; by number, where it is none that an agent ever keeps."""
    known = {one.number: one.name for one in ALL}
    return tuple(
        known.get(number, str(number)) for number in range(mask.bit_length()) if mask >> number & 1
    )
