# SPDX-License-Identifier: Apache-2.0
"""net-conf.json: whether it can be used, and what it says."""

from collections.abc import Iterator

from fwd.config import load_netconf
from fwd.model import ConfigError
from fwd.ops.doctor.finding import Finding, note, well, wrong
from fwd.ops.doctor.patient import Patient

_SUBJECT = "net-conf.json"


def look(patient: Patient) -> Iterator[Finding]:
    """Reads it, for all who come after."""
    config = patient.config
    path = config.net_config_path
    if not (config.kube_subnet_mgr or config.static_leases or path.exists()):
        said = f"no {path}: with leases from etcd it is in etcd, which is not asked here"
        yield note(_SUBJECT, said, "give --kube-subnet-mgr or --static-leases, if that is meant")
        return
    try:
        conf = load_netconf(path)
    except ConfigError as error:
        yield wrong(_SUBJECT, str(error), f"write {path} as flannel's documentation has it")
        return
    patient.conf = conf
    networks = ", ".join(str(network) for _, network in patient.networks())
    backend = conf.backend
    said = f"{networks}, VNI {backend.vni}, UDP port {backend.port}"
    if backend.mtu:
        said += f", MTU {backend.mtu}"
    yield well(_SUBJECT, said + (", rules by nft" if conf.enable_nftables else ""))
    for key in backend.ignored():
        yield note(_SUBJECT, f"{key} is set and has no effect in userspace")
