# SPDX-License-Identifier: Apache-2.0
"""This node's own subnet: that it lies in the cluster's network, and that nobody else has it."""

import os
from collections.abc import Iterator, Sequence

from fwd.core.identity import random_mac
from fwd.core.leases import LeaseBook
from fwd.core.netconf import NetConf
from fwd.model import ConfigError, Lease, Network, OwnLease, Snapshot
from fwd.node.rundir import remembered_mac
from fwd.ops.doctor.finding import Finding, Grade, well, wrong
from fwd.ops.doctor.patient import Patient
from fwd.sources import static

_SUBJECT = "leases"
_MEND = "mend the file: it is read again at once"


def look_static(patient: Patient) -> Iterator[Finding]:
    """Leases of a file."""
    config, conf = patient.config, patient.conf
    path = config.static_leases
    assert path is not None
    vni = 1 if conf is None else conf.backend.vni
    try:
        found = static.parse(path.read_bytes(), node=config.node_name, vni=vni)
    except (ConfigError, OSError) as error:
        said = (error.strerror if isinstance(error, OSError) else None) or str(error)
        yield wrong(_SUBJECT, f"{path}: {said}", _MEND, cause="source")
        return
    others = tuple(lease for lease in found.leases if lease.node != config.node_name)
    read = well(_SUBJECT, f"{path}: {len(others)} other nodes")
    if patient.agent is None:
        patient.leases = others
    if conf is None:
        yield read
        return
    own = list(judge_subnets(patient, found.own))
    fault = _fault(patient, conf, found)
    if fault and all(one.grade is not Grade.WRONG for one in own):
        yield wrong(_SUBJECT, f"{path}: {fault}", _MEND, cause="source")
    else:
        yield read
    yield from own


def _fault(patient: Patient, conf: NetConf, found: Snapshot) -> str:
    """Why the agent would not begin with these leases, all of them or nothing; or empty."""
    owns = {one.family: one for one in found.own}
    missing = sorted(set(conf.networks) - set(owns))
    if missing:
        name = patient.config.node_name
        return f"node {name} has no IPv{missing[0]} subnet, and net-conf.json enables it"
    ours = [_settled(patient, conf, own) for own in owns.values()]
    book = LeaseBook(ours, networks=conf.networks, vni=conf.backend.vni)
    try:
        book.replace(found.leases)
    except ConfigError as error:
        return str(error)
    return ""


def _settled(patient: Patient, conf: NetConf, own: OwnLease) -> Lease:
    """With the MAC that the agent would have."""
    assert own.public_ip is not None  # of an entry, which says it
    known = own.vtep_mac or remembered_mac(patient.config.run_dir, conf.backend.device(own.family))
    return Lease(
        node=own.node,
        subnet=own.subnet,
        public_ip=own.public_ip,
        vtep_mac=known or random_mac(os.urandom(6)),
        vni=conf.backend.vni,
    )


def judge_subnets(
    patient: Patient, owns: Sequence[OwnLease], *, subject: str = "podCIDR"
) -> Iterator[Finding]:
    """Notes the subnets for other checks; `subject` is their source's word for one."""
    assert patient.conf is not None
    for own in owns:
        family = own.subnet.version
        network = patient.conf.networks.get(family)
        if network is None:
            yield wrong(
                subject,
                f"{own.subnet}: IPv{family} is not enabled in net-conf.json",
                f"EnableIPv{family} and a network there, or no subnet of that family",
                cause="source",
            )
            continue
        if not _contains(network, own.subnet):
            yield wrong(
                subject,
                f"{own.subnet} is not within Network {network} of net-conf.json",
                "make Network the one that the cluster's subnets are of",
                cause="source",
            )
            continue
        patient.subnets[family] = own.subnet
        patient.owns[family] = own
        twin = next(
            (one for one in patient.leases_of(family) if one.subnet.overlaps(own.subnet)), None
        )
        if twin is not None:
            yield wrong(
                subject,
                f"{own.subnet} overlaps {twin.subnet} of {twin.node}",
                "give each node a subnet of its own",
                cause="source",
            )
        else:
            yield well(subject, f"{own.subnet} lies in {network} and is this node's alone")


def _contains(network: Network, subnet: Network) -> bool:
    return network.prefixlen <= subnet.prefixlen and subnet.network_address in network
