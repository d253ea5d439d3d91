# SPDX-License-Identifier: Apache-2.0
"""The TAP through which super-packets leave whole (cext/uncut.h): what the kernel needs to be told.

To the kernel a router's packets come out of it, and they have this very node's address as their
source, which a router's never have.  So the device must accept local sources, and be spared the
reverse path filter: strict on another interface it would drop them, and on a device without any
address even loose (net/ipv4/fib_frontend.c, __fib_validate_source).  IPv6 has no such checks, but
forwards only where the whole node does: until then the device is down, and the agent cuts.

The device lives as long as somebody has its descriptor, so nothing is to be cleaned up.
"""

from ipaddress import ip_address
from pathlib import Path

from fwd.model import IPV4
from fwd.node import devconf, netlink
from fwd.ops import log
from fwd.plane import tap_mac

_ADDRESS = ip_address("127.84.72.1")
"""Of every such device, on every node: it is only there for the device to have one."""

DEVICE = "device"
"""What lacking() says of a device that is gone."""

_WANTED = {"forwarding": (1, 1), "rp_filter": (8, 2), "accept_local": (23, 1)}
"""By name: number in linux/ip.h (IPV4_DEVCONF_*), value."""
_CONF = Path("/proc/sys/net/ipv4/conf")
_FORWARDING = Path("/proc/sys/net/ipv6/conf/all/forwarding")


def apply(name: str, family: int) -> None:
    """Makes the device ready to forward from.  May be called again.  Raises OSError."""
    up = _forwards(family)
    address = _ADDRESS if family == IPV4 else None
    index = netlink.apply_quiet(name, address=address, mac=tap_mac(), up=up)
    if family == IPV4:
        devconf.set_ipv4(index, dict(_WANTED.values()))
    if not up:
        log.warning("tunnel-gso-waits", device=name, text=f"{_FORWARDING} is 0")


def lacking(name: str, family: int) -> tuple[str, ...]:
    """What apply() would mend; the device itself, if it is gone."""
    device = netlink.find_device(name)
    if device is None:
        return (DEVICE,)
    wrong = [] if device.up == _forwards(family) else ["up"]
    wrong += [] if device.mac == tap_mac() else ["mac"]
    if family == IPV4:
        wrong += [key for key, (_, value) in _WANTED.items() if _conf(name, key) != str(value)]
        if not any(
            one.address == _ADDRESS for one in netlink.find_addresses(IPV4, index=device.index)
        ):
            wrong.append("address")
    return tuple(wrong)


def _forwards(family: int) -> bool:
    """IPv4's switch is the device's own."""
    return family == IPV4 or _read(_FORWARDING) != "0"


def _conf(name: str, key: str) -> str:
    return _read(_CONF / name / key)


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
