# SPDX-License-Identifier: Apache-2.0
"""Which interface carries a family's outer packets, and what becomes of it later (spec 10.2).

Choosing goes by flannel's order and in its words: --iface, --iface-regex, --iface-can-reach;
without these --public-ip as the address of the interface, and else the default route.  What each of
them means on this node is `node.interfaces`'s.

With both families on, a word that means an interface (an address of the other family, a pattern
that such an address matches) means it for this family, too.  flannel insists on one interface for
both; here each family may have its own.

Where peers are told to send to another address of this node (on a loopback interface, say), that is
the one to receive at and to send from, as flannel does.  Interface and MTU stay those chosen.

Following goes further than flannel, which looks once.  The address is kept for as long as it is on
this node, also when it moves to a bridge or a bond; when it is gone, the best one of its interface
follows it, and only an interface that is gone too is chosen anew.  Whoever chose by an address
wants that one, and peers send to the one that they were told: there is nothing to follow, only to
wait for.  An interface without a usable address is waited for too, and no other is taken in its
place: a default route that moves away for a second must not move the node.  Nor must an IPv6
interface that was down, and for a while has the address only that it makes for itself.
"""

import time
from contextlib import suppress

from msgspec.structs import replace

from fwd.model import Address, ConfigError
from fwd.node import interfaces, netlink
from fwd.node.interfaces import Miss, Selection, Underlay
from fwd.ops import log

__all__ = ["Miss", "Selection", "Underlay", "choose", "follow"]

_PROBE_SECONDS = 3.0
"""Duplicate address detection takes up to two of them, with the kernel's defaults."""
_LOOK_SECONDS = 0.1
_LOOPBACK = 1
"""Number of `lo`, in every network namespace: an address that moves there takes no link along."""


def choose(selection: Selection) -> Underlay:
    """The interface for outer packets.  Raises ConfigError in flannel's words.

    Waits a little for an address that cannot be used yet, if there is no good one without it.
    """
    end = time.monotonic() + _PROBE_SECONDS
    while True:
        failed: ConfigError | None = None
        found: Underlay | None = None
        probed = _probed(selection.family)  # first: it may end at any moment
        try:
            found = _choose(selection)
        except ConfigError as error:
            failed = error
        is_good = (
            found is not None
            and not found.address.is_link_local
            and not probed & {found.address, *selection.published}
        )
        if is_good or time.monotonic() > end or not probed:
            break
        time.sleep(_LOOK_SECONDS)
    if found is None:
        assert failed is not None
        raise failed
    return found


def _probed(family: int) -> set[Address]:
    return {one.address for one in netlink.find_addresses(family) if one.is_probed}


def _choose(selection: Selection) -> Underlay:
    return _at_published(_chosen(selection), selection)


def _chosen(selection: Selection) -> Underlay:
    """The interface, with an address that it has."""
    family, given = selection.family, selection.public_ip
    if selection.interfaces or selection.patterns or selection.can_reach:
        return _first_match(selection)
    try:
        if given is not None:
            return interfaces.owner(given, hint=" (behind NAT give --iface too)")
        if selection.beside is not None:
            return interfaces.best(interfaces.owner(selection.beside).index, family)
        if selection.by_lease and selection.lease_ip is not None:
            with suppress(Miss):  # behind NAT
                return interfaces.owner(selection.lease_ip)
        return interfaces.best(interfaces.of_default_route(family), family)
    except Miss as miss:
        raise ConfigError(f"Failed to find any valid interface to use: {miss}") from miss


def _first_match(selection: Selection) -> Underlay:
    ways = (
        *((interfaces.given, text) for text in selection.interfaces),
        *((interfaces.matching, text) for text in selection.patterns),
        *((interfaces.towards, text) for text in (selection.can_reach,) if text),
    )
    misses: list[str] = []
    for look, text in ways:
        try:
            found = look(text, selection)
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


def _at_published(chosen: Underlay, selection: Selection) -> Underlay:
    """Peers send there: where it is this node's, that is where we must receive."""
    if not selection.published:
        return chosen
    here = _heard(chosen, selection.family, index=chosen.index)
    if selection.published[0] not in here:
        here = _heard(chosen, selection.family)
    address = next((one for one in selection.published if one in here), chosen.address)
    if address == chosen.address:
        return chosen
    return replace(chosen, address=address, chosen=chosen.address)


def _heard(chosen: Underlay, family: int, *, index: int = 0) -> set[Address]:
    """Addresses, of one interface or of all, at which packets from peers arrive."""
    return {
        one.address
        for one in netlink.find_addresses(family, index=index, deprecated=True)
        if not one.is_probed and (one.index == chosen.index or not one.address.is_link_local)
    }


def follow(before: Underlay, selection: Selection) -> Underlay:
    """Where the underlay is now.  ConfigError while there is nothing that can be used."""
    chosen = replace(before, address=before.chosen or before.address, chosen=None)
    now = _at_published(_follow_chosen(chosen, selection), selection)
    published = selection.published
    if before.address in published:
        as_good = published[: published.index(before.address) + 1]
        if now.address not in as_good:
            raise Miss(f"{before.address} is gone from this node, and peers send there")
    return now


def _follow_chosen(before: Underlay, selection: Selection) -> Underlay:
    """The interface, by the address that it was chosen with."""
    index = _holder(before, selection.family)
    if index:
        return interfaces.at(index, before.address, is_fixed=before.is_fixed)
    if before.is_fixed:
        raise Miss(f"{before.address} is gone from {before.name}, and it was asked for")
    device = netlink.find_device(before.index) or netlink.find_device(before.name)
    now = _chosen(selection) if device is None else interfaces.best(device.index, selection.family)
    if now.address.is_link_local and not before.address.is_link_local:
        raise Miss(f"{before.address} is gone from {before.name}, which has {now.address} only")
    return now


def _holder(before: Underlay, family: int) -> int:
    """The interface that has the address now, the same one if it may be; 0: none has it."""
    address = before.address
    if any(one.address == address for one in netlink.find_addresses(family, index=before.index)):
        return before.index
    everywhere = netlink.find_addresses(family)
    return next(
        (one.index for one in everywhere if one.address == address and one.index != _LOOPBACK), 0
    )
