# SPDX-License-Identifier: Apache-2.0
"""Which MAC this node's VTEP has.

A TUN has no MAC of its own, yet peers address inner frames to the one that they last saw published.
So the node keeps whatever it had, from the most to the least authoritative memory of it, and only
a node that nobody ever saw draws a new one.
"""

from msgspec import Struct

from fwd.core.text import format_mac, mac_fault


class MacMemory(Struct, frozen=True):
    """One place that may remember the MAC; `mac` None: it does not."""

    place: str
    mac: bytes | None


class MacChoice(Struct, frozen=True):
    """The MAC to use, the place it is from, and what to tell about places that disagree."""

    mac: bytes
    place: str
    remarks: tuple[str, ...] = ()


def choose_mac(memories: tuple[MacMemory, ...], *, entropy: bytes) -> MacChoice:
    """The MAC of the first memory that has a usable one, else a random one made of `entropy`."""
    usable = [m for m in memories if m.mac is not None and mac_fault(m.mac) is None]
    if not usable:
        return MacChoice(mac=random_mac(entropy), place="random")
    first, rest = usable[0], usable[1:]
    assert first.mac is not None
    return MacChoice(
        mac=first.mac,
        place=first.place,
        remarks=tuple(
            f"{other.place} has {format_mac(other.mac)}, {first.place} wins"
            for other in rest
            if other.mac is not None and other.mac != first.mac
        ),
    )


def random_mac(entropy: bytes) -> bytes:
    """A locally administered unicast address of six random bytes, drawn as flannel does (5.2)."""
    return bytes([entropy[0] & 0xFE | 0x02]) + entropy[1:6]
