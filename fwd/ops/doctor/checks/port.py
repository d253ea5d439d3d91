# SPDX-License-Identifier: Apache-2.0
"""The UDP port that peers send to: whether it is ours, and whose else."""

import errno
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from msgspec import Struct

from fwd.model import IPV4, Address
from fwd.node import netlink
from fwd.node.device import Device
from fwd.ops.doctor.finding import Finding, note, well, wrong
from fwd.ops.doctor.patient import Patient
from fwd.ops.probe.endpoint import endpoint

_FILES = {4: "udp", 6: "udp6"}


class _Holder(Struct, frozen=True):
    """A process with a socket on the port."""

    pid: int
    name: str


def look(patient: Patient) -> Iterator[Finding]:
    """By family."""
    if patient.conf is None:
        return
    port = patient.conf.backend.port
    devices = netlink.find_devices("vxlan")
    for family in patient.families:
        yield from _look(patient, family, port, devices)


def _look(patient: Patient, family: int, port: int, devices: list[Device]) -> Iterator[Finding]:
    subject = f"UDP port {port}"
    ours = patient.device(family)
    if any(device.name == ours for device in devices):
        yield note(
            subject,
            f"{ours} is a kernel vxlan device, of flannel: fwd takes its place and its MAC",
            "see that flannel's own agent does not run on this node any more",
        )
        return
    agent = patient.agent
    if agent is not None and agent.forwards(family):
        yield well(subject, f"the agent receives at {_address(patient, family)}")
        return
    address = _address(patient, family)
    code = _try_to_bind(address, port, scope=_scope(patient, family))
    if code == 0:
        yield well(subject, f"free at {address}")
    elif code == errno.EADDRINUSE:
        ours_too = {patient.device(one) for one in patient.families}
        others = [
            one for one in devices if one.up and one.port == port and one.name not in ours_too
        ]
        holders = list(_holders(family, address, port))
        if patient.holder in {one.pid for one in holders}:  # goes on by what was kept for it
            yield well(subject, f"the agent receives at {address}")
            return
        whose, remedy = _whose(holders, others)
        yield wrong(
            subject,
            f"taken by {whose}",
            f"{remedy}, or another Port in net-conf.json on all nodes",
            cause="port",
        )
    else:
        yield wrong(
            subject,
            f"cannot receive at {address}: {os.strerror(code).lower()}",
            "give --iface or --public-ip with an address of this node",
            cause="underlay",
            is_symptom=True,
        )


def _whose(holders: list[_Holder], devices: list[Device]) -> tuple[str, str]:
    """Who has the port, and how to be rid of it.  Sockets of kernel devices are no process's."""
    if holders:
        named = ", ".join(f"{one.name} (pid {one.pid})" for one in holders)
        return named, f"stop {holders[0].name}"
    if devices:
        name, vni = devices[0].name, devices[0].vni
        return f"{name}, a kernel vxlan device (VNI {vni})", f"ip link del {name}"
    return "a process that cannot be seen from here", "stop it (ss -lunp on the node)"


def _address(patient: Patient, family: int) -> Address:
    found = patient.underlays.get(family)
    if found is not None:
        return found.address
    return IPv4Address(0) if family == IPV4 else IPv6Address(0)


def _scope(patient: Patient, family: int) -> int:
    found = patient.underlays.get(family)
    return 0 if found is None else found.index


def _try_to_bind(address: Address, port: int, *, scope: int) -> int:
    """0 or an errno."""
    kind = socket.AF_INET if address.version == IPV4 else socket.AF_INET6
    with socket.socket(kind, socket.SOCK_DGRAM) as trial:
        if kind == socket.AF_INET6:
            trial.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            trial.bind(endpoint(address, port, scope=scope))
        except OSError as error:
            return error.errno or errno.EIO
    return 0


def _holders(family: int, address: Address, port: int) -> Iterator[_Holder]:
    """Processes with a socket that is in the way.  Those of other pid namespaces are not seen."""
    inodes = set(_inodes(family, address, port))
    if family == IPV4:  # a dual-stack socket is in the way of both
        inodes |= set(_inodes(6, IPv6Address(0), port))
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for process in Path("/proc").iterdir():
        if not process.name.isdecimal():
            continue
        with suppress(OSError):
            if any(_target(fd) in wanted for fd in (process / "fd").iterdir()):
                name = (process / "comm").read_text(errors="replace").strip()
                yield _Holder(int(process.name), name)


def _target(link: Path) -> str:
    with suppress(OSError):
        return os.readlink(link)  # noqa: PTH115 - it is no path
    return ""


def _inodes(family: int, address: Address, port: int) -> Iterator[int]:
    """Of sockets bound to the port at this address or at all (proc(5): local_address, inode)."""
    for line in Path(f"/proc/thread-self/net/{_FILES[family]}").read_text().splitlines()[1:]:
        words = line.split()
        host, _, number = words[1].partition(":")
        bound = _parse(host)
        if int(number, 16) == port and (bound == address or int(bound) == 0):
            yield int(words[9])


def _parse(text: str) -> Address:
    """Hexadecimal words in the byte order of the machine."""
    words = (int(text[at : at + 8], 16) for at in range(0, len(text), 8))
    return ip_address(b"".join(word.to_bytes(4, sys.byteorder) for word in words))
