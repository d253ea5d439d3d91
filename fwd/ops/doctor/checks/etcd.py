# SPDX-License-Identifier: Apache-2.0
"""etcd: each endpoint, what this node may do there, the network's configuration, its subnet.

Nothing is changed: the write that is tried is a transaction on a condition that never holds.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator

from msgspec import Struct
from msgspec.structs import replace

from fwd.core import etcdrpc as rpc
from fwd.core.etcdclaim import Create, Discard, Full, Reuse, decide
from fwd.core.etcdlease import config_key, make_key, subnets_prefix
from fwd.core.etcdtable import LeaseTable
from fwd.core.netconf import NetConf
from fwd.core.subnetpool import make_pools
from fwd.model import ConfigError, FwdError, OwnLease
from fwd.node.savedstate import NET_CONF_NAME
from fwd.ops.doctor.checks import netconf
from fwd.ops.doctor.checks.ownlease import judge_subnets
from fwd.ops.doctor.finding import Finding, note, well, wrong
from fwd.ops.doctor.patient import Patient
from fwd.sources.choice import etcd_access, known_as
from fwd.sources.contact import NoAnswer
from fwd.sources.etcdaccess import Endpoint, EtcdAccess
from fwd.sources.etcdapi import EtcdApi
from fwd.sources.etcdconf import parse_text
from fwd.sources.etcdlink import BadUser, EtcdPatience

_PATIENCE = EtcdPatience(connect=3.0, answer=5.0)
_NEVER = 1 << 62
"""A version that no key has."""
_EXAMPLE = json.dumps({"Network": "10.244.0.0/16", "Backend": {"Type": "vxlan"}})
_REACH = (
    "see that etcd runs there and this node reaches it (etcdctl --endpoints ... endpoint health), "
    "or mend --etcd-endpoints; if Kubernetes has the leases, give --kube-subnet-mgr"
)
_USER = "give a user that etcd knows: --etcd-username, --etcd-password"
_REMEDIES = {
    # By a part of what is said.
    "CERTIFICATE_VERIFY_FAILED": "give the authority that signed etcd's certificate: --etcd-cafile",
    "take the client's certificate": "give a certificate of an authority that etcd trusts (its "
    "--trusted-ca-file): --etcd-certfile, --etcd-keyfile",
    "want https": "write https:// in --etcd-endpoints",
    "want http?": "write http:// in --etcd-endpoints",
    "permission denied": "etcdctl role grant-permission ROLE readwrite --prefix {prefix}",
}


class _Asked(Struct, frozen=True):
    """One endpoint, and the configuration there, or why it does not say."""

    endpoint: Endpoint
    conf: rpc.KeyValue | None = None
    error: FwdError | None = None
    text: str = ""


async def look(patient: Patient) -> AsyncIterator[Finding]:
    """From the way there to what there is."""
    config = patient.config
    key = config_key(config.etcd_prefix)
    try:
        access = etcd_access(config)
    except ConfigError as error:
        yield wrong("etcd", str(error), "mend what --etcd-... say", cause="source")
        return
    asked = await asyncio.gather(*(_ask(access, one, key) for one in access.endpoints))
    for finding in _way(asked, config.etcd_prefix):
        yield finding
    answered = next((one for one in asked if one.error is None), None)
    if answered is None:
        for finding in _remembered(patient):
            yield finding
        return
    for finding in _configuration(patient, key, answered.conf):
        yield finding
    api = EtcdApi(replace(access, endpoints=(answered.endpoint,)), patience=_PATIENCE)
    try:
        async for finding in _leases(patient, api):
            yield finding
    finally:
        await api.close()


async def _ask(access: EtcdAccess, endpoint: Endpoint, key: str) -> _Asked:
    api = EtcdApi(replace(access, endpoints=(endpoint,)), patience=_PATIENCE)
    try:
        return _Asked(endpoint, await api.get(key))
    except FwdError as error:
        text = str(error).removeprefix(f"cannot read {key}: ")
        return _Asked(endpoint, error=error, text=text.removeprefix(f"{endpoint.url}: "))
    finally:
        await api.close()


def _way(asked: list[_Asked], prefix: str) -> Iterator[Finding]:
    """Who answers, and what is refused: one fault is one finding, however many members have it."""
    silent = [(one, one.error) for one in asked if isinstance(one.error, NoAnswer)]
    if len(silent) == len(asked):
        said = "; ".join(f"{one.endpoint.url}: {one.text}" for one, _ in silent)
        yield wrong("etcd", said, _remedy(silent[0][1], prefix), cause="source")
        return
    for one, error in silent:
        subject = f"etcd {one.endpoint.url}"
        yield wrong(subject, one.text, _remedy(error, prefix), cause="source")
    for one in asked:
        if one.error is not None and not isinstance(one.error, NoAnswer):
            remedy = _remedy(one.error, prefix)
            yield wrong("etcd access", one.text, remedy, cause="source")
            return
    urls = ", ".join(one.endpoint.url for one in asked if one.error is None)
    yield well("etcd", f"{urls}: the configuration may be read")


def _remedy(error: FwdError, prefix: str) -> str:
    if isinstance(error, BadUser):
        return _USER
    found = next((remedy for part, remedy in _REMEDIES.items() if part in str(error)), _REACH)
    return found.format(prefix=prefix)


def _configuration(patient: Patient, key: str, found: rpc.KeyValue | None) -> Iterator[Finding]:
    if found is None:
        yield wrong(
            netconf.SUBJECT,
            f"{key} is not in etcd: the agent waits for it",
            f"etcdctl put {key} '{_EXAMPLE}', with the network that is meant",
            cause="source",
        )
        return
    try:
        conf = parse_text(found.value, where=key)
    except ConfigError as error:
        yield wrong(
            netconf.SUBJECT,
            str(error),
            f"etcdctl put {key} what flannel's documentation has",
            cause="source",
        )
        return
    yield from netconf.tell(patient, conf)


def _remembered(patient: Patient) -> Iterator[Finding]:
    """What a start would go by, and other checks can."""
    path = patient.config.run_dir / NET_CONF_NAME
    try:
        patient.conf = parse_text(path.read_bytes(), where=path)
    except (ConfigError, OSError):
        return
    yield note(netconf.SUBJECT, f"as etcd said it last: {path}")


async def _leases(patient: Patient, api: EtcdApi) -> AsyncIterator[Finding]:
    """Whether they may be read and written, and which one is this node's."""
    prefix = subnets_prefix(patient.config.etcd_prefix)
    conf = patient.conf
    families, vni = ((), 1) if conf is None else (sorted(conf.networks), conf.backend.vni)
    table = LeaseTable(prefix=prefix, families=families, vni=vni)
    never = rpc.TxnRequest(
        compare=(rpc.Compare(target=rpc.VERSION, key=table.key("doctor"), version=_NEVER),),
        success=(rpc.Operation(put=rpc.PutRequest(table.key("doctor"))),),
    )
    try:
        found, revision = await api.list(prefix)
        table.replace(found, revision=revision)
        yield well("etcd leases", f"may be read: {len(table)}")
        await api.transact(never, doing=f"write into {prefix}")
        yield well("etcd write", "allowed (tried with a condition that never holds)")
    except FwdError as error:
        remedy = _remedy(error, patient.config.etcd_prefix)
        yield wrong("etcd access", str(error), remedy, cause="source")
        return
    if conf is not None:
        for finding in await _own(patient, conf, table):
            yield finding


async def _own(patient: Patient, conf: NetConf, table: LeaseTable) -> list[Finding]:
    """This node's own subnet: the agent's, or what a start would take."""
    if patient.agent is not None:
        name = make_key({family: one.subnet for family, one in patient.agent.tunnels.items()})
        if table.entry(name) is not None:
            return [well("subnet", f"{name} is this node's")]
        lost = f"the lease {name} of this node is not in etcd"
        remedy = "the agent puts it back if nobody has it: see its log"
        return [wrong("subnet", lost, remedy, cause="source", is_symptom=True)]
    try:
        who = await known_as(patient.config, conf)
    except FwdError:  # of the underlay, which is looked at by itself
        return []
    step = decide(table, make_pools(conf), who, choose=lambda _: 0)
    name = step.entry.name if isinstance(step, Reuse | Discard) else ""
    patient.leases = table.leases(but=name)
    match step:
        case Reuse():
            node = patient.config.node_name
            owns = [OwnLease(node, subnet) for subnet in step.entry.subnets.values()]
            return list(judge_subnets(patient, owns, subject="subnet"))
        case Create():
            return [well("subnet", "none yet: a start takes one that is free")]
        case Discard():
            return [note("subnet", f"{name}: {step.reason}: a start deletes it")]
        case Full():
            remedy = "etcdctl del the leases of nodes that are gone, or make Network larger"
            return [wrong("subnet", f"out of subnets: {step.text}", remedy, cause="source")]
