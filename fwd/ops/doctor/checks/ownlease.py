# SPDX-License-Identifier: Apache-2.0
"""This node's own subnet: that it lies in the cluster's network, and that nobody else has it."""

from collections.abc import Iterator, Sequence

from fwd.model import ConfigError, Network, OwnLease
from fwd.ops.doctor.finding import Finding, well, wrong
from fwd.ops.doctor.patient import Patient
from fwd.sources import static


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
        yield wrong(
            "leases", f"{path}: {said}", "mend the file: it is read again at once", cause="source"
        )
        return
    others = tuple(lease for lease in found.leases if lease.node != config.node_name)
    yield well("leases", f"{path}: {len(others)} other nodes")
    if patient.agent is None:
        patient.leases = others
    yield from judge_subnets(patient, found.own)


def judge_subnets(
    patient: Patient, owns: Sequence[OwnLease], *, subject: str = "podCIDR"
) -> Iterator[Finding]:
    """Notes the subnets for other checks; `subject` is their source's word for one."""
    assert patient.conf is not None
    for own in owns:
        family = own.subnet.version
        network = patient.conf.networks.get(family)
        if network is None or not _contains(network, own.subnet):
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
