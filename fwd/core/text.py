# SPDX-License-Identifier: Apache-2.0
"""Text forms of addresses, CIDRs and MACs, as Go's net package reads them.

flannel is written in Go, and what its operators write into net-conf.json and annotations was
accepted by Go.  Python's ipaddress takes more (a netmask after the slash, a bare address as a
network, a scope id), so it never reads such text directly.  Each function raises ValueError with a
text that quotes the input.
"""

import re
from ipaddress import IPv6Address, ip_address, ip_interface

from fwd.model import IPV4, MAC_LEN, Address, Network

_CIDR = re.compile(r"[0-9a-fA-F.:]+/[0-9]{1,3}", re.ASCII)
_MAC = re.compile(
    r"[0-9a-f]{2}(?P<by>[:-])(?:[0-9a-f]{2}(?P=by)){4}[0-9a-f]{2}|(?:[0-9a-f]{4}\.){2}[0-9a-f]{4}",
    re.ASCII | re.IGNORECASE,
)


def parse_cidr(text: str) -> Network:
    """The network that text lies in: host bits are dropped, as net.ParseCIDR does."""
    if _CIDR.fullmatch(text):
        try:
            return ip_interface(text).network
        except ValueError:
            pass
    raise ValueError(f"{text!r} is not a CIDR such as 10.244.0.0/16")


def parse_network(text: str) -> Network:
    """A CIDR that must not have host bits."""
    network = parse_cidr(text)
    if ip_address(text.partition("/")[0]) != network.network_address:
        raise ValueError(f"{text!r} has host bits set, its network is {network}")
    return network


def parse_address(text: str, *, wanted: int = 0) -> Address:
    """An address without a scope id; `wanted` is the family that it should be of, if one is.

    Where that is IPv4, ::ffff:192.0.2.1 is an IPv4 address: Go's To4 makes one of it.
    """
    if "%" not in text:
        try:
            address = ip_address(text)
        except ValueError:
            pass
        else:
            if wanted == IPV4 and isinstance(address, IPv6Address):
                return address.ipv4_mapped or address
            return address
    raise ValueError(f"{text!r} is not an IP address")


def parse_public_ip(text: str, family: int) -> Address:
    """Where peers shall send, as an operator wrote it.  ValueError in flannel's words."""
    try:
        address = parse_address(text, wanted=family)
    except ValueError:
        address = None
    if address is None or address.version != family:
        kind = "IP" if family == IPV4 else "IPv6"
        raise ValueError(f"invalid public {kind} address: {text}")
    return address


def parse_mac(text: str) -> bytes:
    """Six bytes from aa:bb:cc:dd:ee:ff, aa-bb-cc-dd-ee-ff or aabb.ccdd.eeff (net.ParseMAC)."""
    if not _MAC.fullmatch(text):
        raise ValueError(f"{text!r} is not a MAC such as 02:00:00:00:00:01")
    return bytes.fromhex(re.sub(r"[:.-]", "", text))


def format_mac(mac: bytes) -> str:
    """aa:bb:cc:dd:ee:ff, lower case, as flannel publishes it."""
    return mac.hex(":")


def mac_fault(mac: bytes) -> str | None:
    """Why no VTEP can have this MAC, or None if one can.

    Kernel receivers drop frames from a zero or group address (flannel spec 5.6).
    """
    if len(mac) != MAC_LEN:
        return f"is {len(mac)} bytes long, not {MAC_LEN}"
    if not any(mac):
        return "is zero"
    if mac == b"\xff" * MAC_LEN:
        return "is the broadcast address"
    if mac[0] & 1:
        return "is a multicast address"
    return None
