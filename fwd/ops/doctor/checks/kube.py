# SPDX-License-Identifier: Apache-2.0
"""The Kubernetes API: each verb that the agent uses, tried; what it says of this node; the clock.

Nothing is changed: the patch has nothing in it, and is a dry run besides.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from email.utils import parsedate_to_datetime
from typing import Any

from fwd.core import nodelease
from fwd.core.annotations import Keys
from fwd.core.nodelease import NoSubnet
from fwd.core.nodetable import NodeTable
from fwd.core.nodewire import Changed, Node, NodeDecoder
from fwd.model import ConfigError, FwdError
from fwd.ops.doctor.checks.ownlease import judge_subnets
from fwd.ops.doctor.finding import Finding, note, well, wrong
from fwd.ops.doctor.patient import Patient
from fwd.sources.kubeapi import KubeApi, Oversized, Patience, Refused
from fwd.sources.kubeclient import ApiAccess
from fwd.sources.kubename import node_of_pod

_NODES_READ = 250
_SKEW_SECONDS = 60.0
"""More, and certificates and tokens of now may be of later there."""
_OURS_ALONE = "get nodes"
"""The agent lists and watches; flannel's first ClusterRole has no more."""
_FORBIDDEN = 403
_REMEDIES = {
    401: "give the agent a valid token or kubeconfig",
    403: "apply the ClusterRole of flannel's manifest, and its binding to this ServiceAccount",
    404: "see that NODE_NAME or --node-name is the Node's name (kubectl get nodes)",
}
_UNREACHABLE = (
    "see that this node reaches it: --kubeconfig-file, --kube-api-url, or in a Pod "
    "KUBERNETES_SERVICE_HOST"
)


class _NotTried(Exception):  # noqa: N818 - no error
    """This verb cannot be tried."""


async def look(patient: Patient) -> AsyncIterator[Finding]:
    """Verb by verb, for as long as the server answers."""
    config = patient.config
    access = ApiAccess(url=config.kube_api_url, kubeconfig=config.kubeconfig_file)
    api = KubeApi(access, patience=Patience(connect=3.0, answer=5.0, silence=5.0))
    trial = _Trial(patient, api)
    verbs: tuple[tuple[str, Callable[[], Awaitable[str]]], ...] = (
        ("get pods", trial.get_pod),
        ("get nodes", trial.get_node),
        ("list nodes", trial.list_nodes),
        ("watch nodes", trial.watch_nodes),
        ("patch nodes/status", trial.patch_status),
    )
    try:
        for verb, attempt in verbs:
            try:
                yield well(f"API {verb}", await attempt())
            except _NotTried as reason:
                yield note(f"API {verb}", str(reason))
            except Refused as error:
                if verb == _OURS_ALONE and error.code == _FORBIDDEN:
                    yield note(f"API {verb}", "refused; the agent does without it")
                    continue
                remedy = _REMEDIES.get(error.code, "see the API server's log")
                yield wrong(f"API {verb}", str(error), remedy, cause="source")
            except FwdError as error:
                yield wrong("API server", str(error), _UNREACHABLE, cause="source")
                return
    finally:
        await api.close()
    for finding in (*clock(api.date), *trial.own_node()):
        yield finding


class _Trial:
    """One request of each kind, and what they tell."""

    def __init__(self, patient: Patient, api: KubeApi) -> None:
        self._patient = patient
        self._api = api
        self._name = patient.config.node_name
        self._decoder = NodeDecoder(Keys(patient.config.kube_annotation_prefix))
        self._node: Node | None = None
        self._version = ""

    async def get_pod(self) -> str:
        pod = self._patient.config.pod
        if self._name or pod is None:
            return "not needed: the node's name is given"
        self._name = await node_of_pod(self._api, *pod)
        return f"allowed: this node is {self._name}"

    async def get_node(self) -> str:
        if not self._name:
            raise _NotTried("not tried: the node's name is not known")
        found = self._decoder.node(await self._api.node(self._name))
        if isinstance(found, Changed):
            self._node = found.node
        return f"allowed, on {self._api.server}"

    async def list_nodes(self) -> str:
        page = await self._api.page(limit=_NODES_READ)
        if isinstance(page, Oversized):
            return "allowed"
        listed = self._decoder.page(page)
        self._version = listed.version
        conf = self._patient.conf
        if conf is not None and self._patient.agent is None:
            table = NodeTable(families=sorted(conf.networks), vni=conf.backend.vni)
            table.replace(listed.nodes)
            self._patient.leases = tuple(
                lease for lease in table.leases() if lease.node != self._name
            )
        for one in listed.nodes:
            if self._node is None and isinstance(one, Changed) and one.node.name == self._name:
                self._node = one.node
        count = len(listed.nodes)
        return f"allowed: {count}{' and more' if listed.token else ''} nodes"

    async def watch_nodes(self) -> str:
        if not self._version:
            raise _NotTried("not tried: there is no list to begin from")
        async with self._api.watch(self._version, seconds=1):
            return "allowed"

    async def patch_status(self) -> str:
        if self._node is None:
            raise _NotTried("not tried: there is no Node to patch")
        nothing: dict[str, Any] = {"metadata": {"annotations": {}}}
        await self._api.patch_status(self._name, nothing, dry_run=True)
        return "allowed (tried as a dry run)"

    def own_node(self) -> Iterator[Finding]:
        """Its podCIDR against net-conf.json, and annotations of an operator."""
        node, conf = self._node, self._patient.conf
        if node is None or conf is None:
            return
        try:
            found = nodelease.own_leases(node, networks=conf.networks)
        except ConfigError as error:
            yield wrong(
                "podCIDR",
                str(error),
                "make Network in net-conf.json the cluster's --cluster-cidr (--pod-network-cidr "
                "of kubeadm); a podCIDR changes only with a new Node",
                cause="source",
            )
            return
        if isinstance(found, NoSubnet):
            yield wrong(
                "podCIDR",
                found.text,
                "run kube-controller-manager with --allocate-node-cidrs=true and --cluster-cidr",
                cause="source",
            )
            return
        yield from judge_subnets(self._patient, found)
        for fault in nodelease.operator_faults(node, families=conf.networks):
            yield wrong("annotations", fault, f"kubectl edit node {node.name}: mend or remove it")


def clock(date: str) -> Iterator[Finding]:
    """Against the API server's, which stamps each answer (RFC 9110, 6.6.1)."""
    if not date:
        return
    try:
        there = parsedate_to_datetime(date).timestamp()
    except ValueError:
        return
    skew = time.time() - there
    if abs(skew) > _SKEW_SECONDS:
        which = "ahead of" if skew > 0 else "behind"
        yield wrong(
            "clock",
            f"{abs(skew):.0f} s {which} the API server's",
            "have both set by NTP (chrony, systemd-timesyncd): certificates and leases expire "
            "by the clock",
        )
    else:
        yield well("clock", f"within {_SKEW_SECONDS:.0f} s of the API server's")
