# SPDX-License-Identifier: Apache-2.0
"""Where this node stands in the cluster: what its own lease and the machine together decide.

Finding out only looks; making it true is `node.tunnel`'s work.
"""

import asyncio
import os
from collections.abc import Iterable

from msgspec import Struct
from msgspec.structs import replace

from fwd.config import RunConfig
from fwd.core.identity import MacMemory, choose_mac
from fwd.core.leases import inside_fault
from fwd.core.netconf import NetConf
from fwd.core.text import format_mac
from fwd.model import IPV4, IPV6, Address, ConfigError, Lease, OwnLease
from fwd.node import netlink, underlay
from fwd.node.rundir import RunDir
from fwd.ops import log
from fwd.plane import ALL_OFFLOADS, Offload, PlaneSettings, SourceCheck


class Station(Struct, frozen=True):
    """All that follows from the own lease and the machine: when it changes, the tunnel is new."""

    lease: Lease
    underlay: underlay.Underlay
    layout: netlink.Layout
    settings: PlaneSettings


async def find_station(own: OwnLease, config: RunConfig, conf: NetConf, run_dir: RunDir) -> Station:
    """Where this node stands; looks, and notes the MAC.  Raises FwdError or OSError."""
    selected = await asyncio.to_thread(underlay.choose, selection(own, config, conf))
    mac = await _settle_mac(own, conf.backend.device(own.family), run_dir)
    return _station(replace(own, vtep_mac=mac), selected, config, conf)


async def follow_underlay(
    station: Station, own: OwnLease, config: RunConfig, conf: NetConf
) -> Station:
    """The same station where the underlay is now.  Raises ConfigError while that is nowhere."""
    now = await asyncio.to_thread(underlay.follow, station.underlay, selection(own, config, conf))
    if now == station.underlay:
        return station
    return _station(replace(own, vtep_mac=station.lease.vtep_mac), now, config, conf)


def tell_station(event: str, station: Station, *, text: str = "", **more: object) -> None:
    """Says where this node is now, with more of what is known at that event."""
    lease, link = station.lease, station.underlay
    log.info(
        event,
        node=lease.node,
        subnet=lease.subnet,
        public_ip=lease.public_ip,
        vtep_mac=format_mac(lease.vtep_mac),
        interface=link.name,
        address=link.address,
        underlay_mtu=link.mtu,
        **more,
        text=f"Using interface with name {link.name} and address {link.address}{text}",
    )


def warn_of_public_ip(station: Station, config: RunConfig) -> None:
    """Says so if peers send elsewhere than the operator wants."""
    lease = station.lease
    flag, given = _flag(lease.family, config)
    if given not in (None, lease.public_ip):
        log.warning(
            "public-ip-differs",
            text=f"{flag} is {given}, but peers send to {lease.public_ip}, as the own lease says",
        )


async def public_ips(config: RunConfig, conf: NetConf) -> dict[int, Address]:
    """Where peers would send to this node, which has no leases yet, by family.

    Raises ConfigError where no interface can be used, or peers could not send to its address.
    """
    found: dict[int, Address] = {}
    for family, network in sorted(conf.networks.items()):
        wanted = selection(OwnLease("", network), config, conf)
        given = wanted.public_ip
        found[family] = given or (await asyncio.to_thread(underlay.choose, wanted)).address
        if fault := inside_fault(found[family], network):
            raise ConfigError(f"{fault} (give --iface with another, or choose another network)")
    return found


def selection(own: OwnLease, config: RunConfig, conf: NetConf) -> underlay.Selection:
    """What was said about the underlay of this lease's family."""
    others = tuple(family for family in conf.networks if family != own.family)
    return underlay.Selection(
        family=own.family,
        others=others,
        interfaces=config.iface,
        patterns=config.iface_regex,
        can_reach=config.iface_can_reach,
        public_ip=_public_ip(own, config),
        beside=next((_flag(family, config)[1] for family in others), None),
        lease_ip=own.public_ip,
        by_lease=config.static_leases is not None,
    )


def _public_ip(own: OwnLease, config: RunConfig) -> Address | None:
    """The operator's word: the Node's annotation before the flag."""
    return own.underlay_ip or _flag(own.family, config)[1]


def _flag(family: int, config: RunConfig) -> tuple[str, Address | None]:
    """Name and value of the flag that says where peers shall send."""
    if family == IPV4:
        return "--public-ip", config.public_ip
    return "--public-ipv6", config.public_ipv6


def _station(own: OwnLease, link: underlay.Underlay, config: RunConfig, conf: NetConf) -> Station:
    """What follows from the own lease, its MAC settled, and the underlay."""
    assert own.vtep_mac is not None
    backend, family = conf.backend, own.family
    device, mtu = backend.device(family), backend.device_mtu(family, link.mtu)
    return Station(
        lease=Lease(
            node=own.node,
            subnet=own.subnet,
            public_ip=own.public_ip or _public_ip(own, config) or link.address,
            vtep_mac=own.vtep_mac,
            vni=backend.vni,
        ),
        underlay=link,
        layout=netlink.Layout(
            device=device,
            address=own.subnet.network_address,
            network=conf.networks[family],
            mtu=mtu,
            routed=own.subnet != conf.networks[family],
        ),
        settings=PlaneSettings(
            device=device,
            family=family,
            mac=own.vtep_mac,
            local=link.address,
            scope=link.index if link.address.version == IPV6 and link.address.is_link_local else 0,
            vni=backend.vni,
            port=backend.port,
            mtu=mtu,
            workers=config.workers,
            cpus=config.worker_cpus,
            spin_us=config.spin_us,
            source_check=SourceCheck[config.source_check.upper()],
            offloads=wanted_offloads(config.disable_offload, tunnel_gso=config.tunnel_gso),
        ),
    )


async def _settle_mac(own: OwnLease, device: str, run_dir: RunDir) -> bytes:
    found = await asyncio.to_thread(netlink.find_device, device)
    kernel = found.mac if found is not None and found.kind == "vxlan" else None
    remembered = run_dir.read_mac(device)
    choice = choose_mac(
        (
            MacMemory("own-lease", own.vtep_mac),
            MacMemory(f"kernel-device-{device}", kernel),
            MacMemory("run-dir", remembered),
        ),
        entropy=os.urandom(6),
    )
    for remark in choice.remarks:
        log.warning("vtep-mac-differs", text=remark)
    if choice.mac == remembered:
        return choice.mac
    log.info("vtep-mac", mac=format_mac(choice.mac), of=choice.place)
    try:  # now: the device that had it may be gone after an attempt that fails
        run_dir.write_mac(device, choice.mac)
    except OSError as error:
        log.warning("run-dir", error=f"cannot remember the MAC: {error}")
    return choice.mac


def wanted_offloads(disabled: Iterable[str], *, tunnel_gso: bool = False) -> Offload:
    """But for the disabled ones and those that need one of these."""
    wanted = ALL_OFFLOADS | (Offload.TUNNEL_GSO if tunnel_gso else Offload(0))
    for name in disabled:
        wanted &= ~Offload.named(name)
    if Offload.VNET_HDR not in wanted:  # the header is what tells the segment size
        wanted &= ~(Offload.TSO | Offload.USO)
    if not (Offload.TSO in wanted and Offload.UDP_SEGMENT in wanted):
        wanted &= ~Offload.TUNNEL_GSO  # nothing to send whole, or no path proven to take it
    return wanted
