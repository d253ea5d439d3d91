# SPDX-License-Identifier: Apache-2.0
"""Leases from Kubernetes: every Node that flannel's annotations call a member.

`kubewatch` keeps a table of Nodes as the API server has it, `kubenode` our own Node as we want it;
what this has in common with other sources that watch is `watched`'s.
"""

from typing import NoReturn

from msgspec import Struct
from msgspec.structs import replace

from fwd.core import nodelease
from fwd.core.annotations import DEFAULT_PREFIX, Keys
from fwd.core.netconf import NetConf
from fwd.core.nodelease import NoSubnet
from fwd.core.nodetable import NodeTable
from fwd.core.nodewire import Changed, Node, NodeDecoder
from fwd.model import ConfigError, Lease, OwnLease, Snapshot, SourceState
from fwd.ops import log
from fwd.sources.contact import Contact, Side
from fwd.sources.kubeapi import KubeApi, Patience
from fwd.sources.kubeclient import ApiAccess
from fwd.sources.kubename import node_of_pod
from fwd.sources.kubenode import OwnNode
from fwd.sources.kubewatch import NodeWatch, Pace
from fwd.sources.watched import WatchedSource


class KubeSettings(Struct, frozen=True):
    """What `fwd run` was told about Kubernetes."""

    node_name: str = ""
    pod: tuple[str, str] | None = None
    """Namespace and name of the agent's own Pod, which knows the node's name."""
    access: ApiAccess = ApiAccess()
    annotation_prefix: str = DEFAULT_PREFIX
    set_node_network_unavailable: bool = True


class KubeSource(WatchedSource):
    """A `LeaseSource` that is an API server."""

    def __init__(
        self,
        settings: KubeSettings,
        conf: NetConf,
        *,
        patience: Patience | None = None,
        pace: Pace | None = None,
    ) -> None:
        super().__init__(Contact("api-server", server=lambda: self._api.server))
        self._settings = settings
        self._networks = conf.networks
        self._name = settings.node_name
        keys = Keys(settings.annotation_prefix)
        decoder = NodeDecoder(keys)
        self._api = KubeApi(settings.access, patience=patience)
        self._table = NodeTable(families=sorted(conf.networks), vni=conf.backend.vni)
        self._watch = NodeWatch(
            self._api,
            decoder,
            self._table,
            pace=pace or Pace(),
            heard=self._contact.heard,
            changed=self._on_changed,
        )
        self._node = OwnNode(self._api, decoder, keys, look=self._look, learn=self._on_learned)
        self._own: tuple[OwnLease, ...] = ()
        """As the Node says it; empty until it has said something of use."""
        self._told_faults: tuple[str, ...] = ()

    def announce(self, leases: tuple[Lease, ...]) -> None:
        """Annotates this Node with the leases, and again whenever somebody undoes that."""
        self._node.announce(leases)

    def reconnect(self) -> None:
        """Without this a watch would end by its silence only, and a patch by its time limit."""
        self._api.reconnect()

    def ready(self) -> None:
        """Tells the Node that its network is up, unless told to leave that."""
        if self._settings.set_node_network_unavailable:
            self._node.ready()

    def state(self) -> SourceState:
        """Where the API server is, and what is waited for."""
        return self._state(
            f"kube {self._api.server}",
            watching=f"{len(self._table)} nodes",
            is_current=self._watch.listed,
        )

    def _snapshot(self) -> Snapshot | None:
        """The table, if there is one and this node has its subnets.

        Who began from a saved state has announced some, and may know more of them than the lease
        says, such as whose choice an address was: while the Node says nothing, neither do we.
        """
        own, announced = self._own, self._node.leases
        if not self._watch.listed or not (own or announced):
            return None
        if announced:  # from now on the Node follows us, not we the Node
            macs = {lease.family: lease.vtep_mac for lease in announced}
            own = tuple(replace(one, vtep_mac=macs[one.family]) for one in own)
        return Snapshot(own=own, leases=self._table.leases(), refused=self._table.refusals())

    # The two endless rounds.

    async def _follow(self) -> NoReturn:
        await self._contact.retrying(self._identify)
        while True:
            await self._contact.retrying(self._watch.round)

    async def _publish(self) -> NoReturn:
        while True:
            await self._contact.retrying(self._node.round, side=Side.PUBLISH)

    async def _close(self) -> None:
        await self._api.close()

    async def _identify(self) -> None:
        """This node's name, from the Pod that we run in if need be (flannel spec 1.2)."""
        await self._api.open()
        if not self._name and self._settings.pod is not None:
            self._name = await node_of_pod(self._api, *self._settings.pod)

    # What the rounds tell.

    def _look(self) -> Node | None:
        return self._table.node(self._name) if self._watch.listed else None

    def _on_learned(self, answer: Changed) -> None:
        if self._table.apply(answer):
            self._on_changed()

    def _is_in_force(self) -> bool:
        return bool(self._node.leases) or self._watch.listed

    def _on_changed(self) -> None:
        self._look_at_own()
        self._node.seen()
        self._news.set()

    def _look_at_own(self) -> None:
        """What this node's own Node says now; while it says nothing of use, the last word holds."""
        node, self._fault, waiting = self._look(), None, ""
        if node is None:
            waiting = self._why_unknown()
        else:
            self._tell_operator(node)
            try:
                nodelease.refuse_node_public_ip(node, families=self._networks)
                found = nodelease.own_leases(node, networks=self._networks)
            except ConfigError as error:
                self._fault, waiting = error, str(error)
            else:
                if isinstance(found, NoSubnet):
                    waiting = found.text
                else:
                    self._own = found
        self._wait_for(waiting)

    def _why_unknown(self) -> str:
        """Why this node's own Node is not in the table."""
        unreadable = (one.reason for one in self._table.refusals() if one.node == self._name)
        return next(unreadable, f'node "{self._name}" is not in the cluster')

    def _tell_operator(self, node: Node) -> None:
        faults = nodelease.overwrite_faults(node, families=self._networks)
        if faults != self._told_faults:
            self._told_faults = faults
            for fault in faults:
                log.warning("annotation-ignored", node=node.name, error=fault)
