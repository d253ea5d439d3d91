# SPDX-License-Identifier: Apache-2.0
"""The TUN device, the rights to have one, and what the kernel will do for the data path."""

import os
import platform
from collections.abc import Iterable, Iterator
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from fwd import plane
from fwd.model import IPV4, Address
from fwd.node import netlink
from fwd.node.device import Device
from fwd.node.station import wanted_offloads
from fwd.ops.doctor.finding import Finding, note, well, wrong
from fwd.ops.doctor.patient import Patient
from fwd.plane import Offload, PlaneSettings, tap_of

_TUN = "/dev/net/tun"
_CAP_NET_ADMIN = 12
_TRIAL_MTU = 1450
_TRIAL_MAC = bytes([2, 0, 0, 0, 0, 1])
_OFFLOADS = "offloads"

_NEEDED = {
    Offload.VNET_HDR: "a TUN driver with IFF_VNET_HDR",
    Offload.TSO: "a TUN driver with TUN_F_TSO4 and TSO6",
    Offload.USO: "Linux 6.2",
    Offload.MULTI_QUEUE: "a TUN driver with IFF_MULTI_QUEUE",
    Offload.UDP_SEGMENT: "Linux 4.18",
    Offload.UDP_GRO: "Linux 5.0",
    Offload.TUNNEL_GSO: "Linux 6.17 (and no agent of 32 bits on 64) and an underlay address "
    "that is not link-local",
}


def look(patient: Patient) -> Iterator[Finding]:
    """The device, then the right, then a device made for trial."""
    try:
        plane.probe()
    except OSError as error:
        said, remedy = _split(error.strerror or str(error))
        yield wrong("TUN device", said, remedy, cause="tun")
        return
    if not _may_administer():
        yield wrong(
            "rights",
            "CAP_NET_ADMIN is not in force",
            "run as root, or add NET_ADMIN to the container's capabilities",
        )
        return
    yield well("TUN device", f"{_TUN} opens, and CAP_NET_ADMIN is in force")
    yield from _in_the_way(patient)
    agent = patient.agent
    if agent is not None and agent.forwards(_family(patient)):
        tunnel = agent.tunnels[_family(patient)]
        patient.offloads = _joined(tunnel.offloads)
        yield _offloads(patient.offloads, lacking=_joined(tunnel.fallen_back))
        return
    wanted = wanted_offloads(patient.config.disable_offload, tunnel_gso=patient.config.tunnel_gso)
    try:
        patient.offloads = _try_out(wanted, _family(patient))
    except OSError as error:
        said, remedy = _split(error.strerror or str(error))
        yield wrong(_OFFLOADS, said, remedy, cause="tun")
        return
    yield _offloads(patient.offloads, lacking=wanted & ~patient.offloads)
    if Offload.TUNNEL_GSO in patient.offloads:
        yield from _in_the_way_of_taps(patient)


def _in_the_way(patient: Patient) -> Iterator[Finding]:
    """What has the name of a device that is to be made, and does not give way to it."""
    agent = patient.agent
    for family in patient.families:
        if agent is not None and agent.forwards(family):
            continue
        name = patient.device(family)
        found = netlink.find_device(name)
        if found is not None and not found.is_tun and found.kind != "vxlan":
            yield _taken(found)
        elif found is not None and found.is_tun and found.queues and patient.may_start:
            said = f"{name} is in use by another process"
            yield wrong("TUN device", said, "stop the agent that has it", cause="tun")


def _in_the_way_of_taps(patient: Patient) -> Iterator[Finding]:
    for family in patient.families:
        tap = netlink.find_device(tap_of(patient.device(family)))
        if tap is not None and (tap.kind != "tun" or tap.is_tun):
            yield _taken(tap)


def _taken(found: Device) -> Finding:
    kind = "TUN" if found.is_tun else {"tun": "TAP", "": "physical"}.get(found.kind, found.kind)
    return wrong(
        "TUN device",
        f"{found.name} exists and is a {kind} device",
        f"rename or remove it: ip link del {found.name}",
        cause="tun",
    )


def _family(patient: Patient) -> int:
    return patient.families[0] if patient.families else IPV4


def _offloads(granted: Offload, *, lacking: Offload) -> Finding:
    kernel = "Linux " + ".".join(platform.release().split(".")[:2])
    said = f"{' '.join(granted.names) or 'none'} ({kernel})"
    if not lacking:
        return well(_OFFLOADS, said)
    needs = ", ".join(f"{flag.names[0]} needs {_NEEDED[flag]}" for flag in lacking)
    return note(_OFFLOADS, f"{said}; not granted: {needs}", "slower, nothing else")


def _joined(names: Iterable[str]) -> Offload:
    joined = Offload(0)
    for name in names:
        joined |= Offload.named(name)
    return joined


def _try_out(wanted: Offload, family: int) -> Offload:
    """What a data path on this kernel gets.  Makes a device, and removes it.  Raises OSError."""
    local: Address = IPv4Address("127.0.0.1") if family == IPV4 else IPv6Address("::1")
    name = f"fwdtry{os.getpid()}"[:15]
    try:
        return plane.try_out(
            PlaneSettings(
                device=name,
                family=family,
                mac=_TRIAL_MAC,
                local=local,
                vni=1,
                port=0,
                mtu=_TRIAL_MTU,
                workers=1,
                offloads=wanted,
                sources=1,
            )
        )
    finally:
        with suppress(OSError):
            netlink.remove_device(name)


def _may_administer() -> bool:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(":")
        if name == "CapEff":
            return bool(int(value, 16) >> _CAP_NET_ADMIN & 1)
    return True


def _split(text: str) -> tuple[str, str]:
    """The plane's errors end with what to do."""
    found, _, remedy = text.rpartition(": ")
    return (found, remedy) if found else (text, "see the kernel's log")
