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
from collections.abc import Iterator
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

_AF = {IPV4: socket.AF_INET, IPV6: socket.AF_INET6}
_MAIN_TABLE, _LOCAL_TABLE = 254, 255
_RTN_ANYCAST = 4
_IFA_F_TEMPORARY, _IFA_F_DEPRECATED, _IFA_F_PERMANENT = 0x01, 0x20, 0x80
_IFA_F_OPTIMISTIC, _IFA_F_DADFAILED, _IFA_F_TENTATIVE = 0x04, 0x08, 0x40
_SCOPE_GLOBAL, _SCOPE_LINK, _SCOPE_HOST = 0, 253, 254
_ADDR_GEN_NONE = 1


class InterfaceAddress(Struct, frozen=True, kw_only=True):
    """One address as the kernel shows it."""

    index: int
    """Of its interface."""
    address: Address
    is_permanent: bool
    is_temporary: bool
    """RFC 8981: made up for privacy and soon another one."""
    is_probed: bool = False
    """Not to be used yet, or never: the kernel asks whether another host has it (RFC 4862, 5.4)."""


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

    Those are still the node's: whoever sends there reaches it.
    """
    only = {"index": index} if index else {}
    with _netlink("look at the addresses") as ipr:
        return [
            InterfaceAddress(
                index=message["index"],
                address=_text_address(message),
                is_permanent=bool(_flags(message) & _IFA_F_PERMANENT),
                is_temporary=family == IPV6 and bool(_flags(message) & _IFA_F_TEMPORARY),
                is_probed=family == IPV6 and _is_probed(_flags(message)),
            )
            for message in ipr.get_addr(family=_AF[family], **only)
            if deprecated or not _flags(message) & _IFA_F_DEPRECATED
        ]


def _text_address(message: Any) -> Address:  # noqa: ANN401 - pyroute2 has no types
    """IFA_LOCAL is the own end of a point-to-point link, IFA_ADDRESS then the other one."""
    return ip_address(message.get("local") or message.get("address"))


def _flags(message: Any) -> int:  # noqa: ANN401
    """IFA_FLAGS has 32 bits, the header's field only 8."""
    return int(message.get("flags") or 0)


def _is_probed(flags: int) -> bool:
    tentative = flags & (_IFA_F_TENTATIVE | _IFA_F_OPTIMISTIC) == _IFA_F_TENTATIVE
    return tentative or bool(flags & _IFA_F_DADFAILED)


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
        _apply_address(ipr, index, layout)
        if not link["flags"] & IFF_UP:
            ipr.link("set", index=index, state="up")
        for route in _anycasts(ipr, layout.address):
            ipr.route("del", **route)
        if not layout.routed:
            routetable.remove(_ways_in(index, layout))
            return index
        ipr.route(
            "replace",
            family=_AF[layout.network.version],
            dst=str(layout.network),
            oif=index,
            proto=routetable.BOOT,
            scope=_SCOPE_LINK if layout.network.version == IPV4 else _SCOPE_GLOBAL,
        )
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
    host, family = layout.address, _AF[layout.network.version]
    with _netlink(f"look at {layout.device}") as ipr:
        link = _link(ipr, layout.device) or {"flags": 0}
        addresses = [_text_address(one) for one in ipr.get_addr(family=family, index=index)]
        found = {
            "up": link["flags"] & IFF_UP,
            "mtu": link.get("mtu") == layout.mtu,
            # There is no way to an address that was kept while the device is down.
            "address": host in addresses and not (link["flags"] & IFF_UP and _anycasts(ipr, host)),
            "route": bool(_ways_in(index, layout)) == layout.routed,
        }
    return tuple(name for name, there in found.items() if not there)


def _no_noise(ipr: Any, index: int, device: str) -> None:  # noqa: ANN401
    """No fe80:: on the tunnel: what the kernel would send for it has no peer to go to.

    Nor is there a router in it (flannel spec 5.1), whatever a peer says.
    """
    spec = {"attrs": [["AF_INET6", {"attrs": [["IFLA_INET6_ADDR_GEN_MODE", _ADDR_GEN_NONE]]}]]}
    with suppress(NetlinkError):  # a kernel without IPv6 needs it not
        ipr.link("set", index=index, IFLA_AF_SPEC=spec)
    with suppress(OSError):  # nor does one where /proc/sys is not ours to write
        Path(f"/proc/sys/net/ipv6/conf/{device}/accept_ra").write_text("0")


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


def _ways_in(index: int, layout: Layout) -> list[routetable.Held]:
    """Routes of the network into the device; where there are to be none, only those like ours."""
    return [
        route
        for route in routetable.through(layout.network.version, index)
        if route.prefix == layout.network and (layout.routed or route.protocol == routetable.BOOT)
    ]


def _apply_address(ipr: Any, index: int, layout: Layout) -> None:  # noqa: ANN401
    """The one address of the tunnel's network; other networks' addresses are none of ours."""
    family, wanted = _AF[layout.address.version], (layout.address, layout.address.max_prefixlen)
    found = False
    for message in ipr.get_addr(family=family, index=index):
        address = _text_address(message)
        if (address, message["prefixlen"]) == wanted:
            found = True
        elif address in layout.network:
            ipr.addr(
                "del",
                index=index,
                family=family,
                address=str(address),
                prefixlen=message["prefixlen"],
            )
    if not found:
        ipr.addr(
            "add", index=index, family=family, address=str(layout.address), prefixlen=wanted[1]
        )
