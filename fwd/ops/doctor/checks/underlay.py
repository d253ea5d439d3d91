# SPDX-License-Identifier: Apache-2.0
"""The interface that carries the outer packets: that there is one, and that it can."""

from collections.abc import Iterator

from fwd.model import IPV4, Address, ConfigError
from fwd.node import netlink, underlay
from fwd.node.station import selection
from fwd.node.underlay import Underlay
from fwd.ops.doctor.finding import Finding, note, well, wrong
from fwd.ops.doctor.patient import Patient


def look(patient: Patient) -> Iterator[Finding]:
    """Chooses as the agent would."""
    conf = patient.conf
    if conf is None:
        return
    for family, network in sorted(conf.networks.items()):
        subject = _subject(patient, family)
        try:
            found = underlay.choose(selection(patient.own(family), patient.config, conf))
        except ConfigError as error:
            remedy = "give --iface with the interface that reaches the other nodes"
            yield wrong(subject, str(error), remedy, cause="underlay")
            continue
        patient.underlays[family] = found
        yield from _judge(patient, family, found)
        if found.address in network:
            yield wrong(
                subject,
                f"{found.address} lies within the cluster's network {network}",
                "choose another Network in net-conf.json: the nodes must not be in it",
            )


def _judge(patient: Patient, family: int, found: Underlay) -> list[Finding]:
    subject = _subject(patient, family)
    assert patient.conf is not None
    device = netlink.find_device(found.index)
    if device is not None and not device.up:
        return [wrong(subject, f"{found.name} is down", f"ip link set {found.name} up")]
    try:
        mtu = patient.conf.backend.device_mtu(family, found.mtu)
    except ConfigError as error:
        return [wrong(subject, str(error), f"ip link set {found.name} mtu 1500")]
    budget = patient.conf.backend.mtu
    if budget and budget > found.mtu:
        return [
            wrong(
                subject,
                f"{found.name} has MTU {found.mtu}, and net-conf.json says {budget}",
                f"MTU {found.mtu} in net-conf.json, or {budget} on the interface",
                cause="mtu",
            )
        ]
    said = f"{found.name}, {found.address}, MTU {found.mtu}, which leaves {mtu} for Pods"
    findings = [well(subject, said)]
    given = _public_ip(patient, family)
    if given not in (None, found.address):
        findings.append(
            note(
                subject,
                f"peers send to {given} and expect packets from it; this node sends from "
                f"{found.address}",
                "as it must be where NAT makes one of the other; else mend this node's public-ip",
            )
        )
    return findings


def _public_ip(patient: Patient, family: int) -> Address | None:
    """Where peers send, if that is said somewhere: as `node.station` has it."""
    own, config = patient.own(family), patient.config
    flag = config.public_ip if family == IPV4 else config.public_ipv6
    return own.public_ip or own.underlay_ip or flag


def _subject(patient: Patient, family: int) -> str:
    return "underlay" if len(patient.families) == 1 else f"underlay IPv{family}"
