# SPDX-License-Identifier: Apache-2.0
"""What a link is, as far as anybody here asks, read from the kernel's message (`node.netlink`)."""

from typing import Any

from msgspec import Struct

IFF_UP = 1
_TYPE_TUN = 1
"""IFF_TUN; 2 is IFF_TAP."""


class Device(Struct, frozen=True):
    """A link as the kernel shows it."""

    name: str
    index: int
    kind: str
    """IFLA_INFO_KIND: vxlan, tun, bridge, ...; empty for hardware."""
    mac: bytes | None
    mtu: int
    up: bool
    queues: int = 0
    """Of a TUN: queues that some process has open."""
    multi_queue: bool = False
    is_tun: bool = False
    """kind "tun" is TAP devices too."""
    vni: int = 0
    port: int = 0
    """Of kind vxlan: UDP, where it listens while it is up."""


def of_link(link: Any) -> Device:  # noqa: ANN401
    """What pyroute2 has decoded of an RTM_NEWLINK."""
    info = link.get("linkinfo")
    kind = (info.get("kind") if info else None) or ""
    data = info.get("data") if info else None
    tun, vxlan = (data if kind == wanted else None for wanted in ("tun", "vxlan"))
    mac = link.get("address")
    return Device(
        name=link.get("ifname"),
        index=link["index"],
        kind=kind,
        mac=bytes.fromhex(mac.replace(":", "")) if mac else None,
        mtu=link.get("mtu"),
        up=bool(link["flags"] & IFF_UP),
        queues=(tun.get("tun_num_queues") or 0) if tun else 0,
        multi_queue=bool(tun and tun.get("tun_multi_queue")),
        is_tun=bool(tun and tun.get("tun_type") == _TYPE_TUN),
        vni=(vxlan.get("vxlan_id") or 0) if vxlan else 0,
        port=(vxlan.get("vxlan_port") or 0) if vxlan else 0,
    )
