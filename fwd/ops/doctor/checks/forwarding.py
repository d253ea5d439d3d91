# SPDX-License-Identifier: Apache-2.0
"""Whether the kernel forwards between Pods and the tunnel, and believes where packets come from.

And whether it lets the tunnel have an IPv6 address at all.
"""

from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from fwd.model import IPV4, IPV6, Address
from fwd.node import netlink
from fwd.ops.doctor.finding import Finding, well, wrong
from fwd.ops.doctor.patient import Patient

_NET = Path("/proc/sys/net")
_SYSCTL = {IPV4: "net.ipv4.ip_forward", IPV6: "net.ipv6.conf.all.forwarding"}
_STRICT = 1
_SAMPLE = 256
"""Nodes the routes to which are looked at, of many: each takes two milliseconds."""


def look(patient: Patient) -> Iterator[Finding]:
    """ip_forward by family; rp_filter is IPv4's only, disable_ipv6 the other's."""
    for family in patient.families:
        yield _forwards(patient, family)
    if IPV6 in patient.families:
        yield from _addresses(patient.device(IPV6))
    if IPV4 in patient.families:
        yield from _reverse_path(patient)


def _forwards(patient: Patient, family: int) -> Finding:
    """IPv4 goes by the device that a packet comes by, IPv6 by one switch for all of them.

    IPv4's switch for all sets that of each device, and of those that are made later, such as Pods'
    bridges.  IPv6's own switch of a device says only whether it is a router's (ip-sysctl).
    """
    subject = "ip_forward" if family == IPV4 else "IPv6 forwarding"
    device, name = patient.device(family), _SYSCTL[family]
    where, what = "off", "packets between Pods and the tunnel"
    own = _read(f"ipv4/conf/{device}/forwarding") if family == IPV4 else None
    if not _read(f"ipv{family}/conf/all/forwarding"):
        if own:
            where, what = f"off, but for {device}", "what Pods send"
    elif own == 0:
        where = f"off for {device}"
        name = f"net.ipv4.conf.{device.replace('.', '/')}.forwarding"
    else:
        return well(subject, "on")
    return wrong(
        subject,
        f"{where}: the kernel does not carry {what}",
        f"sysctl -w {name}=1, and a file in /etc/sysctl.d with it",
    )


def _addresses(device: str) -> Iterator[Finding]:
    """Whether it may have IPv6's: what is still to be made begins as `default` says."""
    begins, own = (_read(f"ipv6/conf/{name}/disable_ipv6") for name in ("default", device))
    if begins is None:  # a kernel without IPv6
        return
    if not (begins if own is None else own):
        yield well("disable_ipv6", f"0 for {device}")
        return
    off = ["default"] * bool(begins) + [device.replace(".", "/")] * bool(own)
    names = " ".join(f"net.ipv6.conf.{name}.disable_ipv6=0" for name in off)
    yield wrong(
        "disable_ipv6",
        f"1 for {device}: the kernel lets it have no IPv6 address",
        f"sysctl -w {names}, and a file in /etc/sysctl.d with it",
        cause="tun",
    )


def _reverse_path(patient: Patient) -> Iterator[Finding]:
    """Strict (RFC 3704) drops what comes in where the answer would not go out."""
    device = patient.device(IPV4)
    wrongs, of_many = [], ""
    if strict := _strictness(device):
        wrongs.append(
            wrong(
                "rp_filter",
                f"strict for {device} ({strict.of}): drops what a peer's node sends to Pods from "
                "its own address",
                strict.remedy,
            )
        )
    underlay = patient.underlays.get(IPV4)
    if underlay is not None and (strict := _strictness(underlay.name)):
        leases = patient.leases_of(IPV4)
        if len(leases) > _SAMPLE:
            of_many = f" (routes to {_SAMPLE} of {len(leases)} nodes looked at)"
        ways = ((lease, _way_to(lease.public_ip)) for lease in leases[:_SAMPLE])
        astray = next((lease for lease, way in ways if way not in {0, underlay.index}), None)
        if astray is not None:
            wrongs.append(
                wrong(
                    "rp_filter",
                    f"strict for {underlay.name} ({strict.of}): drops what comes from "
                    f"{astray.node} ({astray.public_ip}), as the route there leads elsewhere",
                    strict.remedy,
                    cause="way",
                )
            )
    said = f"does not drop what comes by {device} or underlay{of_many}"
    yield from wrongs or [well("rp_filter", said)]


class _Strict(Struct, frozen=True):
    """That the filter of a device is strict."""

    of: str
    """The parameters that make it so."""
    remedy: str


def _strictness(device: str) -> _Strict | None:
    """The greater of two values is in force (ip-sysctl): 2 on the device undoes a 1 on all."""
    every = _read("ipv4/conf/all/rp_filter") or 0
    name, own = device, _read(f"ipv4/conf/{device}/rp_filter")
    if own is None:  # it is still to be made, and begins as this one
        name, own = "default", _read("ipv4/conf/default/rp_filter") or 0
    if max(every, own) != _STRICT:
        return None
    of = " and ".join(
        f"{which} {value}" for which, value in (("all", every), (name, own)) if value == _STRICT
    )
    return _Strict(of, f"sysctl -w net.ipv4.conf.{name.replace('.', '/')}.rp_filter=2 (loose)")


def _way_to(address: Address) -> int:
    try:
        return netlink.route_to(address)[0]
    except OSError:
        return 0


def _read(path: str) -> int | None:
    try:
        return int((_NET / path).read_text())
    except (OSError, ValueError):
        return None
