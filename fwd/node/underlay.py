# SPDX-License-Identifier: Apache-2.0
"""Which interface carries a family's outer packets, and what becomes of it later (spec 10.2).

Choosing goes by flannel's order and in its words: --iface, --iface-regex, --iface-can-reach;
without these --public-ip as the address of the interface, and else the default route.

With both families on, a word that means an interface (an address of the other family, a pattern
that such an address matches) means it for this family, too.  flannel insists on one interface for
both; here each family may have its own.

Following goes further than flannel, which looks once.  The address is kept for as long as it is on
this node, also when it moves to a bridge or a bond; when it is gone, the best one of its interface
follows it, and only an interface that is gone too is chosen anew.  Whoever chose by an address
wants that one: there is nothing to follow, only to wait for.  An interface without a usable address
is waited for too, and no other is taken in its place: a default route that moves away for a second
must not move the node.  Nor must an IPv6 interface that was down, and for a while has the address
only that it makes for itself.
"""

import re
import socket
import time
import warnings
from collections.abc import Iterable
from contextlib import suppress

from msgspec import Struct

from fwd.core.text import parse_address
from fwd.model import IPV4, Address, ConfigError
from fwd.node import netlink
from fwd.ops import log

_PROBE_SECONDS = 3.0
"""Duplicate address detection takes up to two of them, with the kernel's defaults."""
_LOOK_SECONDS = 0.1

_POSIX_CLASS = re.compile(r"\[:\^?\w+:\]")


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
    """Where peers send by the own lease, which selects an interface where nothing else does."""


class Underlay(Struct, frozen=True):
    """The interface that carries outer packets, and this node's address on it."""

    name: str
    index: int
    mtu: int
    address: Address
    is_fixed: bool = False
    """Chosen by its address: no other one will do."""


class Miss(ConfigError):  # noqa: N818 - read as "raise Miss"
    """This way leads to no interface; the next one may."""


def choose(selection: Selection) -> Underlay:
    """The interface for outer packets.  Raises ConfigError in flannel's words.

    Waits a little for an address that cannot be used yet, if there is no good one without it.
    """
    end = time.monotonic() + _PROBE_SECONDS
    while True:
        failed: ConfigError | None = None
        found: Underlay | None = None
        is_probing = _is_probing(selection.family)  # first: it may end at any moment
        try:
            found = _choose(selection)
        except ConfigError as error:
            failed = error
        is_good = found is not None and not found.address.is_link_local
        if is_good or time.monotonic() > end or not is_probing:
            break
        time.sleep(_LOOK_SECONDS)
    if found is None:
        assert failed is not None
        raise failed
    return found


def _is_probing(family: int) -> bool:
    return any(one.is_probed for one in netlink.find_addresses(family))


def _choose(selection: Selection) -> Underlay:
    family, given = selection.family, selection.public_ip
    if selection.interfaces or selection.patterns or selection.can_reach:
        return _first_match(selection)
    try:
        if given is not None:
            return _owner(given, hint=" (behind NAT give --iface too)")
        if selection.beside is not None:
            return _best(_owner(selection.beside).index, family)
        if selection.lease_ip is not None:
            with suppress(Miss):  # behind NAT
                return _owner(selection.lease_ip)
        return _best(_of_default_route(family), family)
    except Miss as miss:
        raise ConfigError(f"Failed to find any valid interface to use: {miss}") from miss


def follow(before: Underlay, selection: Selection) -> Underlay:
    """Where the underlay is now.  ConfigError while there is nothing that can be used."""
    addresses = netlink.find_addresses(selection.family)
    holders = [one.index for one in addresses if one.address == before.address]
    if holders:
        index = before.index if before.index in holders else holders[0]
        return _underlay(index, before.address, is_fixed=before.is_fixed)
    if before.is_fixed:
        raise Miss(f"{before.address} is gone from {before.name}, and it was asked for")
    device = netlink.find_device(before.index) or netlink.find_device(before.name)
    now = _choose(selection) if device is None else _best(device.index, selection.family)
    if now.address.is_link_local and not before.address.is_link_local:
        raise Miss(f"{before.address} is gone from {before.name}, which has {now.address} only")
    return now


def _first_match(selection: Selection) -> Underlay:
    ways = (
        *((_given, text) for text in selection.interfaces),
        *((_matching, text) for text in selection.patterns),
        *((_towards, text) for text in (selection.can_reach,) if text),
    )
    misses: list[str] = []
    for look, text in ways:
        try:
            found = _at_public_ip(look(text, selection), selection)
        except Miss as miss:
            misses.append(str(miss))
            continue
        for missed in misses:
            log.info("interface-missed", error=missed)
        return found
    raise ConfigError(
        "Failed to find interface to use that matches the interfaces and/or regexes provided: "
        + "; ".join(misses)
    )


def _given(text: str, selection: Selection) -> Underlay:
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
        return _best(device.index, family)
    if address.version not in (family, *selection.others):
        raise Miss(f"error looking up interface {address}: IPv{address.version} is not enabled")
    found = _owner(address)
    return found if address.version == family else _best(found.index, family)


def _matching(text: str, selection: Selection) -> Underlay:
    """--iface-regex: searched in all addresses, then in all names, in the kernel's order."""
    pattern, family = _compiled(text), selection.family
    names = _names()
    addresses = netlink.find_addresses(family)
    for one in _in_order(addresses, names):
        if pattern.search(str(one.address)):
            return _underlay(one.index, one.address)
    for other in selection.others:
        for one in _in_order(netlink.find_addresses(other), names):
            if pattern.search(str(one.address)):
                return _best(one.index, family)
    for index, name in names.items():
        if pattern.search(name):
            return _best(index, family)
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
    addresses: Iterable[netlink.InterfaceAddress], names: Iterable[int]
) -> list[netlink.InterfaceAddress]:
    place = {index: number for number, index in enumerate(names)}
    known = (one for one in addresses if one.index in place and not one.is_probed)
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
    except (re.error, FutureWarning, DeprecationWarning) as error:
        raise Miss(f"{failed}: {error}") from error


def _towards(text: str, selection: Selection) -> Underlay:
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
    if target.version != family:
        return _best(index, family)
    return _underlay(index, source) if source else _best(index, family)


def _owner(address: Address, *, hint: str = "") -> Underlay:
    for one in netlink.find_addresses(address.version):
        if one.address == address:
            return _underlay(one.index, address, is_fixed=True)
    kind = "" if address.version == IPV4 else "v6 "
    raise Miss(
        f"error looking up {kind}interface {address}: no interface with given IP found{hint}"
    )


def _of_default_route(family: int) -> int:
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


def _best(index: int, family: int) -> Underlay:
    """Global before link-local, permanent before dynamic, lasting before temporary."""
    own = [one for one in netlink.find_addresses(family, index=index) if not one.is_probed]
    if not own:
        name = _names().get(index, index)
        raise Miss(f"failed to find IPv{family} address for interface {name}")
    best = min(own, key=lambda one: (not one.is_global, not one.is_permanent, one.is_temporary))
    return _underlay(index, best.address)


def _at_public_ip(found: Underlay, selection: Selection) -> Underlay:
    """Peers send to --public-ip: where the interface has it, that is where we must receive."""
    wanted = selection.public_ip
    own = netlink.find_addresses(selection.family, index=found.index)
    if wanted == found.address or wanted not in {one.address for one in own}:
        return found
    assert wanted is not None
    return _underlay(found.index, wanted, is_fixed=True)


def _underlay(index: int, address: Address, *, is_fixed: bool = False) -> Underlay:
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
