# SPDX-License-Identifier: Apache-2.0
"""The TAP through which super-packets leave whole (cext/uncut.h): what the kernel needs to be told.

To the kernel a router's packets come out of it, and they have this very node's address as their
source, which a router's never have.  So the device must accept local sources, and be spared the
reverse path filter: strict on another interface it would drop them, and on a device without any
address even loose (net/ipv4/fib_frontend.c, __fib_validate_source).  IPv6 has no such checks, but
forwards only where the whole node does: until then the device is down, and the agent cuts.

Settings go over netlink, for in a container /proc/sys is read-only.  The device lives as long as
somebody has its descriptor, so nothing is to be cleaned up.
"""

import errno
import socket
import struct
from ipaddress import ip_address
from pathlib import Path

from fwd.model import IPV4
from fwd.node import netlink
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

_RTM_SETLINK, _NLMSG_ERROR = 19, 2
_NLM_F_REQUEST, _NLM_F_ACK = 1, 4
_IFLA_AF_SPEC, _IFLA_INET_CONF = 26, 1
_HEADER, _IFINFO = struct.Struct("=IHHII"), struct.Struct("=BxHiII")
_ATTRIBUTE = struct.Struct("=HH")
_SECONDS = 2.0


def apply(name: str, family: int) -> None:
    """Makes the device ready to forward from.  May be called again.  Raises OSError."""
    up = _forwards(family)
    address = _ADDRESS if family == IPV4 else None
    index = netlink.apply_quiet(name, address=address, mac=tap_mac(), up=up)
    if family == IPV4:
        _set_conf(index, name)
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


def _set_conf(index: int, name: str) -> None:
    """RTM_SETLINK with IFLA_INET_CONF, which pyroute2 can only read."""
    values = b"".join(
        _attribute(number, struct.pack("=I", value)) for number, value in _WANTED.values()
    )
    spec = _attribute(socket.AF_INET, _attribute(_IFLA_INET_CONF, values))
    body = _IFINFO.pack(socket.AF_UNSPEC, 0, index, 0, 0) + _attribute(_IFLA_AF_SPEC, spec)
    flags = _NLM_F_REQUEST | _NLM_F_ACK
    message = _HEADER.pack(_HEADER.size + len(body), _RTM_SETLINK, flags, 1, 0) + body
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as sock:
        sock.settimeout(_SECONDS)
        sock.send(message)
        answer = sock.recv(4096)
    _, kind, *_ = _HEADER.unpack_from(answer)
    code = -struct.unpack_from("=i", answer, _HEADER.size)[0] if kind == _NLMSG_ERROR else 0
    if code:
        raise OSError(code, f"cannot set up {name}: {errno.errorcode.get(code, code)}")


def _attribute(kind: int, data: bytes) -> bytes:
    padding = -len(data) % 4
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(data), kind) + data + b"\0" * padding
