# SPDX-License-Identifier: Apache-2.0
"""Links, addresses and routes of this node: the only user of pyroute2 in the agent.

Every function looks at what there is and changes only what is not as it should be, so each may be
called again at any time.  They block for some milliseconds; the agent calls them in a thread,
because pyroute2's asyncio classes cannot live in uvloop's loop (it takes no netlink sockets as
datagram endpoints).  Being told of changes is `node.linkwatch`'s.

What pyroute2 cannot say is `node.devconf`'s.  Which device and which addresses is decided elsewhere
(`core.netconf`, `node.tunnel`), and which interface carries the outer packets in `node.underlay`.
"""

import errno
import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from msgspec import Struct
from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from fwd.model import IPV4, IPV6, Address, Network
from fwd.node import routetable
from fwd.node.device import IFF_UP, Device, of_link
from fwd.node.ifaddress import InterfaceAddress, of_message
from fwd.node.leftovers import Leftovers, leftovers

_AF = {IPV4: socket.AF_INET, IPV6: socket.AF_INET6}
_MAIN_TABLE, _LOCAL_TABLE = 254, 255
_RTN_ANYCAST = 4
_SCOPE_GLOBAL, _SCOPE_LINK, _SCOPE_HOST = 0, 253, 254
_ADDR_GEN_NONE = 1
_CONF_IPV6 = "/proc/sys/net/ipv6/conf"


class Layout(Struct, frozen=True):
    """What the tunnel device must look like."""

    device: str
    address: Address
    """The subnet's network address: the node's own address in the cluster's network."""
    network: Network
    mtu: int
    routed: bool = True
    """Whether the network leads into it.  Not where the own subnet is all of the network: nobody
    else can have one then, and Pods' bridge has a route of the same prefix."""


@contextmanager
def _netlink(doing: str) -> Iterator[Any]:
    """An open socket; what netlink refuses becomes one OSError that says what was being done."""
    try:
        with IPRoute() as ipr:
            yield ipr
    except NetlinkError as error:
        hint = "needs CAP_NET_ADMIN" if error.code == errno.EPERM else os.strerror(error.code)
        raise OSError(error.code, f"cannot {doing}: {hint}") from error


def find_addresses(
    family: int, *, index: int = 0, deprecated: bool = False
) -> list[InterfaceAddress]:
    """Addresses of one interface, or of all, in the kernel's order; deprecated ones only if asked.

    Those are still the node's: whoever sends there reaches it.  All may be thousands, which take
    half a second: kube-proxy's device has those of all Services in IPVS mode.
    """
    with _netlink("look at the addresses") as ipr:
        routetable.filter_in_kernel(ipr)
        # With index as an argument pyroute2 would ask for all and leave the others out itself.
        messages = ipr.addr(
            "dump",
            family=_AF[family],
            index=index,
            dump_filter=lambda message: index in (0, message["index"]),
        )
        found = map(of_message, messages)
        return [one for one in found if deprecated or not one.is_deprecated]


def default_route(family: int) -> tuple[int, ...]:
    """Interfaces of the first default route of the main table, which may name none; () for none.

    A hop without an interface is number 0.
    """
    with _netlink("look at the routes") as ipr:
        for route in ipr.get_default_routes(family=_AF[family]):
            if route.get_attr("RTA_TABLE") == _MAIN_TABLE:  # pyroute2 gives a VPN's, too
                hops = route.get("multipath") or [{"oif": route.get("oif")}]
                return tuple(hop.get("oif") or 0 for hop in hops)
    return ()


def route_to(address: Address) -> tuple[int, Address | None]:
    """Interface and source address by which the kernel would send there.  OSError: by none."""
    with _netlink(f"find a route to {address}") as ipr:
        route = ipr.route("get", dst=str(address), family=_AF[address.version])[0]
        source = route.get("prefsrc")
        return int(route.get("oif")), ip_address(source) if source else None


def find_device(which: str | int) -> Device | None:
    """The link of this name or number, if there is one."""
    with _netlink(f"look at {which}") as ipr:
        link = _link(ipr, which)
        return None if link is None else of_link(link)


def _link(ipr: Any, which: str | int) -> Any:  # noqa: ANN401
    """One link, asked for by itself: a dump would decode every Pod's veth."""
    key = {"ifname": which} if isinstance(which, str) else {"index": which}
    try:
        return ipr.link("get", **key)[0]
    except NetlinkError as error:
        if error.code == errno.ENODEV:
            return None
        raise


def find_devices(kind: str) -> list[Device]:
    """All links of a kind."""
    with _netlink(f"look for {kind} devices") as ipr:
        return [of_link(link) for link in ipr.get_links(kind=kind)]


def remove_device(name: str) -> None:
    """Deletes the link of this name; one that is not there is fine."""
    with _netlink(f"remove {name}") as ipr:
        link = _link(ipr, name)
        if link is not None:
            ipr.link("del", index=link["index"])


def apply(layout: Layout) -> int:
    """Makes the device look as it must: address, MTU, up, the route.  Returns its index.

    What an earlier network has left on it goes.
    OSError with ENODEV: there is no such device, it must be made first.
    """
    with _netlink(f"set up {layout.device}") as ipr:
        link = _link(ipr, layout.device)
        if link is None:
            raise OSError(errno.ENODEV, f"cannot set up {layout.device}: it is gone")
        index = int(link["index"])
        _no_noise(ipr, index, layout.device)
        if link.get("mtu") != layout.mtu:
            ipr.link("set", index=index, mtu=layout.mtu)
        addresses, routes = _held(layout, index)
        old = _old(layout, addresses, routes)
        if not _is_among(addresses, layout.address):
            _add_address(ipr, index, layout)
        # After it: with its last address a device loses all of its IPv4 routes.
        for one in old.addresses:
            ipr.addr("del", index=index, address=str(one.address), prefixlen=one.prefixlen)
        if not link["flags"] & IFF_UP:
            ipr.link("set", index=index, state="up")
        for route in _anycasts(ipr, layout.address):
            ipr.route("del", **route)
        if layout.routed:
            family = layout.network.version
            ipr.route(
                "replace",
                family=_AF[family],
                dst=str(layout.network),
                oif=index,
                proto=routetable.INTO_TUNNEL,
                scope=_SCOPE_LINK if family == IPV4 else _SCOPE_GLOBAL,
            )
        # After it: what an earlier network has in common with this one is always routed.
        routetable.remove(old.routes)
        return index


def apply_quiet(name: str, *, address: Address | None, mac: bytes, up: bool) -> int:
    """A device that gives no sign of itself, with this MAC and one address of the host, or none.

    Returns its index.  Raises OSError.
    """
    with _netlink(f"set up {name}") as ipr:
        link = _link(ipr, name)
        if link is None:
            raise OSError(errno.ENODEV, f"cannot set up {name}: it is gone")
        index = int(link["index"])
        _no_noise(ipr, index, name)
        if address is not None:
            ipr.addr(
                "replace",
                index=index,
                family=_AF[address.version],
                address=str(address),
                prefixlen=address.max_prefixlen,
                scope=_SCOPE_HOST,
            )
        if of_link(link).mac != mac:
            ipr.link("set", index=index, address=mac.hex(":"))
        ipr.link("set", index=index, state="up" if up else "down")
        return index


def lacking(layout: Layout, index: int) -> tuple[str, ...]:
    """What apply() would mend, of device number `index`: some of up, mtu, address, route."""
    addresses, routes = _held(layout, index)
    is_own = _is_among(addresses, layout.address)
    with _netlink(f"look at {layout.device}") as ipr:
        link = _link(ipr, layout.device) or {"flags": 0}
        # There is no way to an address that is gone, or was kept while the device is down.
        is_anycast = is_own and bool(link["flags"] & IFF_UP and _anycasts(ipr, layout.address))
    right = {
        "up": link["flags"] & IFF_UP,
        "mtu": link.get("mtu") == layout.mtu,
        "address": is_own and not is_anycast,
        "route": (not layout.routed or any(route.prefix == layout.network for route in routes))
        and not _old(layout, addresses, routes).routes,
    }
    return tuple(name for name, is_right in right.items() if not is_right)


def _no_noise(ipr: Any, index: int, device: str) -> None:  # noqa: ANN401
    """No fe80:: on the tunnel: what the kernel would send for it has no peer to go to.

    Nor is there a router in it (flannel spec 5.1), whatever a peer says.
    """
    spec = {"attrs": [["AF_INET6", {"attrs": [["IFLA_INET6_ADDR_GEN_MODE", _ADDR_GEN_NONE]]}]]}
    with suppress(NetlinkError):  # a kernel without IPv6 needs it not
        ipr.link("set", index=index, IFLA_AF_SPEC=spec)
    with suppress(OSError):  # nor does one where /proc/sys is not ours to write
        Path(f"{_CONF_IPV6}/{device}/accept_ra").write_text("0")


def _anycasts(ipr: Any, address: Address) -> list[dict[str, Any]]:  # noqa: ANN401
    """Routes that make our address an anycast one, to whose owner nobody can connect.

    It is the subnet's first one, which a router that has another address of the subnet (a bridge
    for Pods, say) takes for the subnet's routers' (RFC 4291, 2.6.1).  Of two local routes the
    kernel follows the older one.
    """
    if address.version == IPV4:
        return []
    found = ipr.route("get", family=_AF[IPV6], dst=str(address))[0]
    if found["type"] != _RTN_ANYCAST:
        return []
    same = {"family": _AF[IPV6], "table": _LOCAL_TABLE, "type": _RTN_ANYCAST}
    return [
        same | {"dst": str(address), "dst_len": address.max_prefixlen, "oif": route.get("oif")}
        for route in ipr.get_routes(**same)
        if route["type"] == _RTN_ANYCAST and route.get("dst") == str(address)
    ]


def _is_among(addresses: Iterable[InterfaceAddress], own: Address) -> bool:
    return any((one.address, one.prefixlen) == (own, own.max_prefixlen) for one in addresses)


def _held(layout: Layout, index: int) -> tuple[list[InterfaceAddress], list[routetable.Held]]:
    """Addresses of the device and routes into it."""
    version = layout.network.version
    addresses = find_addresses(version, index=index, deprecated=True)
    return addresses, routetable.through(version, index)


def _old(
    layout: Layout, addresses: list[InterfaceAddress], routes: list[routetable.Held]
) -> Leftovers:
    own, network = layout.address, layout.network
    return leftovers(routes, addresses, own=own, network=network, routed=layout.routed)


def _add_address(ipr: Any, index: int, layout: Layout) -> None:  # noqa: ANN401
    own = layout.address
    try:
        ipr.addr("add", index=index, address=str(own), prefixlen=own.max_prefixlen)
    except NetlinkError as error:
        if error.code == errno.EACCES and _is_disabled(layout.device):
            raise OSError(
                error.code,
                f"cannot set up {layout.device}: net/ipv6/conf/{layout.device}/disable_ipv6 is 1: "
                "set it to 0, and net.ipv6.conf.default.disable_ipv6, which new devices have",
            ) from error
        raise


def _is_disabled(device: str) -> bool:
    """Whether a node that is hardened lets it have no IPv6 address."""
    with suppress(OSError):
        return Path(f"{_CONF_IPV6}/{device}/disable_ipv6").read_text().strip() == "1"
    return False
