# SPDX-License-Identifier: Apache-2.0
"""What each of an operator's words means on this node: an interface, and an address on it.

Which word counts, and what becomes of the choice later, is `node.underlay`'s.

As in flannel only addresses count to which a peer could send, global and link-local ones.  Which of
these an address is, its value says: an administrator may have given it any scope.
"""

import re
import socket
import warnings
from collections.abc import Iterable

from msgspec import Struct

from fwd.core.leases import can_be_nodes
from fwd.core.text import parse_address
from fwd.model import IPV4, Address, ConfigError
from fwd.node import netlink
from fwd.node.ifaddress import InterfaceAddress

_POSIX_CLASS = re.compile(r"\[:\^?\w+:\]")
_NO_PATTERN = (
    *(re.error, FutureWarning, DeprecationWarning),
    *(OverflowError, ValueError),  # numbers of repetition that are too large, and too long to read
    RecursionError,  # groups in groups
)
"""What comes of compiling something else than a pattern."""


class Selection(Struct, frozen=True, kw_only=True):
    """What the operator said about the underlay, for one family."""

    family: int
    others: tuple[int, ...] = ()
    """Families that are on besides."""
    interfaces: tuple[str, ...] = ()
    """Names or addresses."""
    patterns: tuple[str, ...] = ()
    can_reach: str = ""
    public_ip: Address | None = None
    beside: Address | None = None
    """The other family's public_ip, which selects its interface where nothing else does."""
    lease_ip: Address | None = None
    """Where peers send by the own lease, whatever public_ip is."""
    by_lease: bool = False
    """Whether lease_ip selects its interface where nothing else does: a file of leases says all."""

    @property
    def published(self) -> tuple[Address, ...]:
        """Where peers may send to, the likeliest first: one may be translated to the other."""
        return tuple(one for one in (self.lease_ip, self.public_ip) if one is not None)


class Underlay(Struct, frozen=True):
    """The interface that carries outer packets, and this node's address for them."""

    name: str
    index: int
    mtu: int
    address: Address
    """To receive at and to send from."""
    is_fixed: bool = False
    """Chosen by its address: no other one will do."""
    chosen: Address | None = None
    """The address that the interface was chosen with, where peers send to another one of this
    node's, on whatever interface."""


class Miss(ConfigError):  # noqa: N818 - read as "raise Miss"
    """This way leads to no interface; the next one may."""


def usable(family: int, *, index: int = 0) -> list[InterfaceAddress]:
    """Addresses of one interface, or of all, that may be chosen now, in the kernel's order."""
    found = netlink.find_addresses(family, index=index)
    return [one for one in found if can_be_nodes(one.address) and not one.is_probed]


def given(text: str, selection: Selection) -> Underlay:
    """--iface: an address, else a name."""
    family = selection.family
    try:
        address = parse_address(text)
    except ValueError:
        device = netlink.find_device(text) if text in _names().values() else None
        if device is None:
            raise Miss(
                f"error looking up interface {text}: route ip+net: no such network interface"
            ) from None
        return best(device.index, family)
    if address.version not in (family, *selection.others):
        raise Miss(f"error looking up interface {address}: IPv{address.version} is not enabled")
    found = owner(address)
    return found if address.version == family else best(found.index, family)


def matching(text: str, selection: Selection) -> Underlay:
    """--iface-regex: searched in all addresses, then in all names, in the kernel's order."""
    pattern, family = _compiled(text), selection.family
    names = _names()
    addresses = _in_order(usable(family), names)
    for one in addresses:
        if pattern.search(str(one.address)):
            return at(one.index, one.address)
    for other in selection.others:
        for one in _in_order(usable(other), names):
            if pattern.search(str(one.address)):
                return best(one.index, family)
    for index, name in names.items():
        if pattern.search(name):
            return best(index, family)
    found = (
        f"{name}:{','.join(own)}"
        for index, name in names.items()
        if (own := [str(one.address) for one in addresses if one.index == index])
    )
    raise Miss(
        f"Could not match pattern {text} to any of the available network interfaces "
        f"({', '.join(found)})"
    )


def _in_order(
    addresses: Iterable[InterfaceAddress], names: Iterable[int]
) -> list[InterfaceAddress]:
    place = {index: number for number, index in enumerate(names)}
    known = (one for one in addresses if one.index in place)
    return sorted(known, key=lambda one: place[one.index])


def _compiled(text: str) -> re.Pattern[str]:
    """Go's syntax as far as Python's is the same; what is not must not mean something else."""
    failed = f"could not compile the IP address regex '{text}'"
    if _POSIX_CLASS.search(text):
        raise Miss(f"{failed}: classes like [:digit:] are unknown here, write \\d or 0-9")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return re.compile(text)
    except _NO_PATTERN as error:
        raise Miss(f"{failed}: {error}") from error


def towards(text: str, selection: Selection) -> Underlay:
    """--iface-can-reach: the interface and the source address of the route there."""
    family = selection.family
    try:
        target = parse_address(text)
        index, source = netlink.route_to(target)
    except (ValueError, OSError) as error:
        raise Miss(f"failed to get ifcanreach based interface: {text}: {error}") from error
    if target.version not in (family, *selection.others):
        raise Miss(
            f"failed to get ifcanreach based interface: {text} is not an IPv{family} address"
        )
    if target.version == family and source is not None and can_be_nodes(source):
        return at(index, source)
    return best(index, family)


def owner(address: Address, *, hint: str = "") -> Underlay:
    """The interface that has this address."""
    for one in netlink.find_addresses(address.version):
        if one.address == address and can_be_nodes(address):
            return at(one.index, address, is_fixed=True)
    kind = "" if address.version == IPV4 else "v6 "
    raise Miss(
        f"error looking up {kind}interface {address}: no interface with given IP found{hint}"
    )


def of_default_route(family: int) -> int:
    """The interface of the default route, by its number."""
    hops = netlink.default_route(family)
    kind = "" if family == IPV4 else " v6"
    failed = f"failed to get default{kind} interface"
    if not hops:
        raise Miss(f"{failed}: unable to find default{kind} route (give --iface or --public-ip)")
    index = next((hop for hop in hops if hop), 0)
    if not index:
        raise Miss(
            f"{failed}: found default route but could not determine interface (give --iface)"
        )
    return index


def best(index: int, family: int) -> Underlay:
    """Global before link-local, permanent before dynamic, lasting before temporary."""
    own = usable(family, index=index)
    if not own:
        name = _names().get(index, index)
        raise Miss(f"failed to find IPv{family} address for interface {name}")
    first = min(
        own,
        key=lambda one: (one.address.is_link_local, not one.is_permanent, one.is_temporary),
    )
    return at(index, first.address)


def at(index: int, address: Address, *, is_fixed: bool = False) -> Underlay:
    """An interface as it is now, with this address."""
    device = netlink.find_device(index)
    if device is None:
        raise Miss(f"interface {index} is gone")
    if not device.mtu:
        raise Miss(f"failed to determine MTU for {device.name} interface")
    return Underlay(
        name=device.name, index=index, mtu=device.mtu, address=address, is_fixed=is_fixed
    )


def _names() -> dict[int, str]:
    """Interfaces by number, in the kernel's order."""
    return dict(socket.if_nameindex())
