# SPDX-License-Identifier: Apache-2.0
"""Leases from Kubernetes: every Node that flannel's annotations call a member.

Theory of operation.  Two endless rounds, each a few lines here: one keeps a table of Nodes as the
API server has it (`kubewatch`), the other keeps our own Node as we want it (`kubenode`).  Both
retry by one rule, below.  Whatever changes the table sets a flag; whoever asks for `changes()` gets
the table of that moment, so a burst of events costs one snapshot, and one that changes nothing of
interest costs none.

While the API server is away nothing happens here except that it is said.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import NoReturn, Self

from msgspec import Struct
from msgspec.structs import replace

from fwd.core import nodelease
from fwd.core.annotations import DEFAULT_PREFIX, Keys
from fwd.core.backoff import Backoff
from fwd.core.netconf import NetConf
from fwd.core.nodelease import NoSubnet
from fwd.core.nodetable import NodeTable
from fwd.core.nodewire import Changed, Node, NodeDecoder
from fwd.model import ConfigError, FwdError, Lease, OwnLease, Snapshot, SourceState, Trouble
from fwd.ops import log
from fwd.sources.kubeapi import KubeApi, Patience, Refused
from fwd.sources.kubeclient import ApiAccess
from fwd.sources.kubename import node_of_pod
from fwd.sources.kubenode import OwnNode
from fwd.sources.kubewatch import Ending, NodeWatch, Pace

RETRY_FIRST_SECONDS = 0.2
RETRY_LONGEST_SECONDS = 4.0
"""Nodes must agree with the API server within 5 s of its return.  Five thousand agents then knock
some 1,700 times a second at a dead door; a server that is alive and wants less says Retry-After."""
RETRY_SPREAD = 0.5

SNAPSHOT_SECONDS = 0.2
"""At least between two snapshots: a change that comes alone is passed on at once."""


class KubeSettings(Struct, frozen=True):
    """What `fwd run` was told about Kubernetes."""

    node_name: str = ""
    pod: tuple[str, str] | None = None
    """Namespace and name of the agent's own Pod, which knows the node's name."""
    access: ApiAccess = ApiAccess()
    annotation_prefix: str = DEFAULT_PREFIX
    set_node_network_unavailable: bool = True


class KubeSource:
    """A `LeaseSource` that is an API server."""

    all_or_nothing = False

    def __init__(
        self,
        settings: KubeSettings,
        conf: NetConf,
        *,
        patience: Patience | None = None,
        pace: Pace | None = None,
    ) -> None:
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
            heard=self._on_heard,
            changed=self._on_changed,
        )
        self._node = OwnNode(self._api, decoder, keys, look=self._look, learn=self._on_learned)
        self._own: tuple[OwnLease, ...] = ()
        """As the Node says it.  Before that, who began from a saved state has announced some."""
        self._waiting = ""
        """What this node's own leases wait for."""
        self._fault: ConfigError | None = None
        """What no waiting cures, as far as one can tell."""
        self._away: str | None = "not asked yet"
        self._away_since = time.monotonic()
        self._unpublished = ""
        """Why our Node does not say what it should, if it does not."""
        self._told_errors: set[str] = set()
        self._told_faults: tuple[str, ...] = ()
        self._news = asyncio.Event()
        self._tasks = asyncio.TaskGroup()
        self._running: list[asyncio.Task[NoReturn]] = []

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        for rounds in (self._follow(), self._publish()):
            self._running.append(self._tasks.create_task(rounds))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for task in self._running:
            task.cancel()
        try:  # a task group would wrap an error that has nothing to do with its tasks
            if error is None or isinstance(error, asyncio.CancelledError):
                await self._tasks.__aexit__(kind, error, trace)
            else:
                await self._tasks.__aexit__(None, None, None)
        finally:
            await self._api.close()

    async def first(self) -> Snapshot:
        """The first whole list in which this node has its subnets."""
        while True:
            await self._news.wait()
            self._news.clear()
            if self._fault is not None:
                raise self._fault
            if snapshot := self._snapshot():
                return snapshot

    async def changes(self) -> AsyncIterator[Snapshot | Trouble]:
        """The table after each batch of changes that matter.  What is wrong is in state()."""
        while True:
            await self._news.wait()
            self._news.clear()
            if snapshot := self._snapshot():
                yield snapshot
            await asyncio.sleep(SNAPSHOT_SECONDS)

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
        if self._away is not None:
            since = time.monotonic() - self._away_since
            standing, detail = "away", f"for {since:.0f} s: {self._away}"
        elif self._waiting:
            standing, detail = "waiting", self._waiting
        else:
            standing, detail = "watching", f"{len(self._table)} nodes"
        if self._unpublished:
            detail += f"; this node is not published: {self._unpublished}"
        return SourceState(
            kind=f"kube {self._api.server}".strip(),
            standing=standing,
            detail=detail,
            is_current=self._watch.listed,
        )

    def _snapshot(self) -> Snapshot | None:
        """The table, if there is one and this node has its subnets."""
        announced = self._node.leases
        own = self._own or tuple(OwnLease(one.node, one.subnet, one.public_ip) for one in announced)
        if not own or not self._watch.listed:
            return None
        if announced:  # from now on the Node follows us, not we the Node
            macs = {lease.family: lease.vtep_mac for lease in announced}
            own = tuple(replace(one, vtep_mac=macs[one.family]) for one in own)
        return Snapshot(own=own, leases=self._table.leases(), refused=self._table.refusals())

    # The two endless rounds.

    async def _follow(self) -> NoReturn:
        await self._retrying(self._identify)
        while True:
            await self._retrying(self._watch.round)

    async def _publish(self) -> NoReturn:
        while True:
            await self._retrying(self._node.round, is_watch=False)

    async def _retrying(
        self, work: Callable[[], Awaitable[Ending | None]], *, is_watch: bool = True
    ) -> None:
        """Does work, again after each failure, until it succeeds: the one rule of retries."""
        backoff = Backoff(
            first=RETRY_FIRST_SECONDS, longest=RETRY_LONGEST_SECONDS, spread=RETRY_SPREAD
        )
        while True:
            begun, retry_after = time.monotonic(), 0.0
            try:
                ending = await work()
            except FwdError as error:
                retry_after = error.retry_after if isinstance(error, Refused) else 0.0
                self._onfailed(error, is_watch=is_watch)
            else:
                if not is_watch:
                    self._unpublished = ""
                if ending is not Ending.QUIET:
                    self._told_errors.clear()
                    return
            if time.monotonic() - begun > RETRY_LONGEST_SECONDS:
                backoff.succeeded()  # it went well for long enough
            delay = backoff.failed(
                time.monotonic(),
                chance=random.random(),  # noqa: S311 - no secret
                at_least=retry_after,
            )
            await asyncio.sleep(delay)

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

    def _on_heard(self) -> None:
        if self._away is not None:
            log.info(
                "api-server-connected",
                server=self._api.server,
                after_seconds=round(time.monotonic() - self._away_since, 1),
            )
        self._away = None

    def _onfailed(self, error: FwdError, *, is_watch: bool) -> None:
        text = str(error)
        if is_watch:
            if self._away is None:
                self._away_since = time.monotonic()
            self._away = text
        else:
            self._unpublished = text
        if isinstance(error, ConfigError):
            self._fault = error
            self._news.set()
            if not self._node.leases and not self._watch.listed:
                return  # first() ends by it, and so does the program, with this one line
        if text not in self._told_errors:
            self._told_errors.add(text)
            log.warning("api-server", error=text)

    def _on_changed(self) -> None:
        self._look_at_own()
        self._node.seen()
        self._news.set()

    def _look_at_own(self) -> None:
        """What this node's own Node says now; while it says nothing of use, the last word holds."""
        node, self._fault, waiting = self._look(), None, ""
        if node is None:
            waiting = f'node "{self._name}" is not in the cluster yet'
        else:
            self._tell_operator(node)
            try:
                found = nodelease.own_leases(node, networks=self._networks)
            except ConfigError as error:
                self._fault, waiting = error, str(error)
            else:
                if isinstance(found, NoSubnet):
                    waiting = found.text
                else:
                    self._own = found
        if waiting and waiting != self._waiting:
            log.warning("waiting", text=waiting)
        self._waiting = waiting

    def _tell_operator(self, node: Node) -> None:
        faults = nodelease.operator_faults(node, families=self._networks)
        if faults != self._told_faults:
            self._told_faults = faults
            for fault in faults:
                log.warning("annotation-ignored", node=node.name, error=fault)
