# SPDX-License-Identifier: Apache-2.0
"""net-conf.json: whether it can be used, and what it says."""

from collections.abc import Iterator

from fwd.config import load_netconf
from fwd.core.netconf import NetConf
from fwd.model import ConfigError
from fwd.ops.doctor.finding import Finding, note, well, wrong
from fwd.ops.doctor.patient import Patient

SUBJECT = "net-conf.json"


def look(patient: Patient) -> Iterator[Finding]:
    """Reads it, for all who come after; where it is in etcd, that check does."""
    config = patient.config
    if patient.has_etcd:
        return
    path = config.net_config_path
    try:
        conf = load_netconf(path)
    except ConfigError as error:
        yield wrong(SUBJECT, str(error), f"write {path} as flannel's documentation has it")
        return
    yield from tell(patient, conf)


def tell(patient: Patient, conf: NetConf) -> Iterator[Finding]:
    """What it says, wherever it was."""
    patient.conf = conf
    networks = ", ".join(str(network) for _, network in patient.networks())
    backend = conf.backend
    said = f"{networks}, VNI {backend.vni}, UDP port {backend.port}"
    if backend.mtu:
        said += f", MTU {backend.mtu}"
    yield well(SUBJECT, said + (", rules by nft" if conf.enable_nftables else ""))
    for key in backend.ignored():
        yield note(SUBJECT, f"{key} is set and has no effect in userspace")
