# SPDX-License-Identifier: Apache-2.0
"""This node's own Node: what is published in it, and kept there.

Everything goes through `patch nodes/status`, and only what differs is sent (flannel spec 3.3).  The
Node is seen through the same watch as all others; so an annotation that somebody removes or changes
is found missing at once, and put back, as often as `repairs` allows.  What is no repair (another
address, that the network is up, a Node made anew) never waits for one.
"""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from fwd.core import annotations, nodelease
from fwd.core.annotations import Keys
from fwd.core.nodewire import Changed, Node, NodeDecoder
from fwd.model import IPV4, Lease
from fwd.ops import log
from fwd.sources.kubeapi import KubeApi, Oversized
from fwd.sources.repairs import Repairs


class OwnNode:
    """Publishes this node's leases, one a family, then that the network is up.

    `look` gives the Node as it is known, `learn` takes in what the server answered to a patch.
    """

    def __init__(
        self,
        api: KubeApi,
        decoder: NodeDecoder,
        keys: Keys,
        *,
        look: Callable[[], Node | None],
        learn: Callable[[Changed], None],
    ) -> None:
        self._api = api
        self._decoder = decoder
        self._keys = keys
        self._look = look
        self._learn = learn
        self._leases: tuple[Lease, ...] = ()
        self._published: tuple[Lease, ...] = ()
        """Those that were in the Node once; what is missing of them later was taken away."""
        self._is_up = False
        self._told_up = False
        self._created = ""
        """creationTimestamp of the Node that all this was told to."""
        self._wake = asyncio.Event()
        """Set until a round finds nothing that it can do."""
        self._repairs = Repairs(wake=self._wake.set)

    @property
    def leases(self) -> tuple[Lease, ...]:
        """What is to be published."""
        return self._leases

    def announce(self, leases: tuple[Lease, ...]) -> None:
        """Publishes these leases from now on."""
        self._leases = leases
        self._wake.set()

    def ready(self) -> None:
        """Tells once that this node's network is up."""
        self._is_up = True
        self._wake.set()

    def seen(self) -> None:
        """The Node may be another than before."""
        self._wake.set()

    async def round(self) -> None:
        """Waits until something may be to do, and does it.  Raises ServerError or ConfigError."""
        await self._wake.wait()
        node, leases = self._look(), self._leases  # others may be announced during a patch
        if node is None or not leases or node.name != leases[0].node:
            self._wake.clear()
            return
        if node.created != self._created:  # deleted and made again: it knows nothing of us
            self._created, self._published, self._told_up = node.created, (), False
        missing = annotations.unwritten(annotations.published(leases), node.annotations)
        if missing and self._published != leases:
            await self._publish(node, leases, missing)
        elif missing and self._repairs.may("annotations-fought-over", node=node.name):
            await self._repair(node, missing)
        elif self._is_up and not self._told_up:
            self._published = leases
            await self._patch(node, _network_is_up(datetime.now(UTC)))
            self._told_up = True
            log.info("network-available", node=node.name)
        else:
            self._published = leases
            self._wake.clear()

    async def _publish(
        self, node: Node, leases: tuple[Lease, ...], missing: dict[str, str]
    ) -> None:
        await self._patch(node, {"metadata": {"annotations": self._by_key(missing)}})
        self._published = leases
        subnets = ",".join(str(lease.subnet) for lease in leases)
        text = self._overriding(node, leases)
        log.info("lease-published", node=node.name, subnet=subnets, **text)

    def _overriding(self, node: Node, leases: tuple[Lease, ...]) -> dict[str, str]:
        """What an operator has had published in place of the address found, in flannel's words."""
        texts = []
        for lease in leases:
            what = "public_ip" if lease.family == IPV4 else "public_ipv6"
            if lease.public_ip == nodelease.overwrite(node, lease.family):
                kind, key = what.replace("_", " "), self._keys.key(f"{what}_overwrite")
                texts.append(
                    f"Overriding {kind} with '{lease.public_ip}' from node annotation '{key}'"
                )
        return {"text": "; ".join(texts)} if texts else {}

    async def _repair(self, node: Node, missing: dict[str, str]) -> None:
        by_key = self._by_key(missing)
        await self._patch(node, {"metadata": {"annotations": by_key}})
        self._repairs.done()
        log.warning("annotations-repaired", node=node.name, keys=",".join(by_key))

    def _by_key(self, values: dict[str, str]) -> dict[str, str]:
        return {self._keys.key(name): value for name, value in values.items()}

    async def _patch(self, node: Node, patch: dict[str, Any]) -> None:
        body = await self._api.patch_status(node.name, patch)
        if not isinstance(body, Oversized):
            answer = self._decoder.node(bytes(body))
            if isinstance(answer, Changed):
                self._learn(answer)


def _network_is_up(now: datetime) -> dict[str, Any]:
    """The condition that lets Pods be scheduled here, as flannel writes it (spec 3.6)."""
    stamp = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    condition = {
        "type": "NetworkUnavailable",
        "status": "False",
        "reason": "FlannelIsUp",
        "message": "Flannel is running on this node",
        "lastHeartbeatTime": stamp,
        "lastTransitionTime": stamp,
    }
    return {"status": {"conditions": [condition]}}
