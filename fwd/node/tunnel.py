# SPDX-License-Identifier: Apache-2.0
"""One family's way through the tunnel: the TUN device and the plane behind it, kept alive together.

The device outlives the agent (it is persistent), but not an administrator's `ip link del`, and
with it go its addresses and routes.  So the tunnel remembers its plan: whenever the device is not
the one that the plane reads from, everything is made anew and the plan is committed again.
"""

import asyncio
import errno
from collections import Counter
from contextlib import suppress
from enum import Enum

from fwd.model import Address, Plan
from fwd.node import netlink, tap
from fwd.node.handover.legacy import Succession
from fwd.node.totals import Totals
from fwd.ops import log
from fwd.plane import Offload, PeerGroup, PeerTraffic, Plane, PlaneSettings, probe


class Health(Enum):
    """What `Tunnel.check` found, and left behind."""

    GOOD = "good"
    REPAIRED = "repaired"
    """Settings of the device were changed by someone; they are as they should be again."""
    LOST = "lost"
    """The device is gone or another one: the tunnel is closed, open() makes it anew."""


class Tunnel:
    """Device, plane and plan of one family."""

    def __init__(
        self, layout: netlink.Layout, settings: PlaneSettings, succession: Succession
    ) -> None:
        """What the process before has left is asked for at each open()."""
        self._legacy = succession.legacy
        self._keeping = succession.keeping
        self.layout = layout
        self.settings = settings
        self.plane: Plane | None = None
        self.plan = Plan()
        self.behind = False
        """Whether the plane, or who keeps it for a later start, holds another plan than ours."""
        self._is_kept = False
        """Whether its descriptors are, as they are now."""
        self.is_paused = False
        self._index = 0
        self._totals = Totals()
        self.inherited: Counter[str] = Counter()
        """What another process had counted when this one took over: a part of counters()."""

    async def open(self) -> None:
        """Device, table, then workers: packets flow when this returns.

        Raises OSError or ConfigError, and has closed what it had opened.
        """
        assert self.plane is None
        plane = self._legacy.take(self.settings)
        if plane is None:
            await self._clear_way()
            plane = Plane.open(self.settings)
        try:
            self._index = await asyncio.to_thread(netlink.apply, self.layout)
            if plane.descriptors.tap:
                await asyncio.to_thread(tap.apply, self.settings.tap, self.settings.family)
            plane.commit(self.plan)
            inherited = self._legacy.start(plane)
            self.inherited.update(inherited)
            self._totals.inherit(inherited)
        except BaseException:
            plane.close()
            raise
        self.plane, self._is_kept = plane, False
        self.behind = True
        with suppress(OSError):  # packets flow, and recommit() tries again
            self._keep(plane)
            self.behind = False

    def _keep(self, plane: Plane) -> None:
        """What a start after a crash is to forward by.  Raises OSError.

        The descriptors come last: without a table they would only keep the device from that start.
        """
        self._keeping.keep_table(self.layout.device, self.plan)
        if not self._is_kept:
            self._keeping.keep(plane)
            self._is_kept = True

    async def _clear_way(self) -> None:
        """Removes what has the device's name and cannot become our TUN."""
        name = self.layout.device
        device = await asyncio.to_thread(netlink.find_device, name)
        if device is None:
            return
        if device.is_tun and device.queues:
            raise OSError(
                errno.EBUSY, f"{name} is in use by another process: stop the agent that has it"
            )
        multi_queue = Offload.MULTI_QUEUE in self.settings.offloads
        if device.is_tun and device.multi_queue == multi_queue:
            return
        if not device.is_tun and device.kind != "vxlan":
            raise OSError(
                errno.EEXIST,
                f"{name} exists and is a {device.kind or 'physical'} device: rename or remove it",
            )
        probe()
        await asyncio.to_thread(netlink.remove_device, name)
        log.info("device-replaced", device=name, kind=device.kind)

    def commit(self, plan: Plan) -> None:
        """Puts plan into force, at once or as soon as the tunnel is open.

        After an OSError the plane holds the plan before; recommit() tries again.
        """
        self.plan = plan
        self.recommit()

    def recommit(self) -> None:
        """Puts the plan into force, whatever the plane holds."""
        self.behind = True
        if self.plane is not None:
            self.plane.commit(self.plan)
            self._keep(self.plane)
        self.behind = False

    async def resize(self, layout: netlink.Layout, settings: PlaneSettings) -> None:
        """Another MTU, while packets flow.  Raises OSError if the plane cannot take it yet."""
        self.layout, self.settings = layout, settings
        if self.plane is not None:
            self.plane.set_mtu(settings.mtu)
            self._is_kept = False
            self.recommit()
            with suppress(OSError):  # check() sees then what is lacking, or that the device is lost
                await asyncio.to_thread(netlink.apply, layout)

    def reshape(self, layout: netlink.Layout, settings: PlaneSettings, plan: Plan) -> None:
        """Closes, and makes all the next open()'s business."""
        self.close()
        self.layout = layout
        self.settings = settings
        self.plan = plan

    async def check(self) -> Health:
        """Looks at the device and mends what can be mended in place."""
        device = await asyncio.to_thread(netlink.find_device, self.layout.device)
        if device is None or not device.is_tun or device.index != self._index:
            self.close()
            return Health.LOST
        lacking = await asyncio.to_thread(netlink.lacking, self.layout, self._index)
        if lacking:
            await asyncio.to_thread(netlink.apply, self.layout)
            log.warning("device-repaired", device=self.layout.device, lacked=", ".join(lacking))
        if not await self._check_tap():
            self.close()
            return Health.LOST
        return Health.REPAIRED if lacking else Health.GOOD

    async def _check_tap(self) -> bool:
        """Whether it is there, or there is to be none; what is wrong with it is mended."""
        if self.plane is None or not self.plane.descriptors.tap:
            return True
        name, family = self.settings.tap, self.settings.family
        lacking = await asyncio.to_thread(tap.lacking, name, family)
        if lacking and tap.DEVICE not in lacking:
            await asyncio.to_thread(tap.apply, name, family)
            log.warning("device-repaired", device=name, lacked=", ".join(lacking))
        return tap.DEVICE not in lacking

    def pause(self) -> tuple[dict[str, int], bytes]:
        """Stops the workers but keeps everything; totals, and what the workers have learned."""
        assert self.plane is not None
        self.is_paused = True
        self.plane.stop()
        return self.counters(), self.plane.learned()

    def resume(self) -> None:
        """Goes on after pause(), or closes, for the next look to make all anew."""
        self.is_paused = False
        if self.plane is not None:
            try:
                self.plane.start()
            except OSError as error:
                log.warning("not-resumed", device=self.layout.device, error=error.strerror or error)
                self.close()

    def counters(self) -> dict[str, int]:
        """Totals since this tunnel began, over all its planes."""
        return self._totals.counters(self.plane)

    def peer_traffic(self) -> dict[Address, PeerTraffic]:
        """Of each peer, by its underlay address: totals since it came into the table."""
        return self._totals.peers(self.plane)

    def traffic_of(self, group: PeerGroup) -> list[PeerTraffic]:
        """The same for the peers of a group, in its order."""
        return self._totals.of(self.plane, group)

    def close(self) -> None:
        """Stops forwarding.  The device stays, with address and route."""
        plane, self.plane = self.plane, None
        if plane is not None:
            self._totals.take_over(plane)
            plane.close()
            if not self.is_paused:  # else it is another process's, and its supervisor's
                self._keeping.drop(self.layout.device)
