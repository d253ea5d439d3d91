# SPDX-License-Identifier: Apache-2.0
"""What a running agent shows of itself: to its log, on its socket, and to Prometheus.

The agent tells it what happens; whoever asks is answered from here, in the same thread.
"""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import partial

from msgspec.structs import replace

from fwd.config import version
from fwd.core.capturefilter import PeerNets
from fwd.core.processortime import ProcessorTime
from fwd.model import Address, Lease, Refusal
from fwd.node.forwarder import Forwarder
from fwd.node.forwarding import Forwarding
from fwd.node.hostsetup import NOT_YET, HostSetup
from fwd.node.saver import Saver
from fwd.node.station import tell_station
from fwd.ops import log
from fwd.ops.capturing import CapturedTunnel, Capturing, Tap, header_of
from fwd.ops.control import (
    Asker,
    CaptureRequest,
    DropsRequest,
    Request,
    StatusRequest,
)
from fwd.ops.drops import DropLog, View
from fwd.ops.gather import carried, gather, leases_of
from fwd.ops.leaseages import LeaseAges
from fwd.ops.metrics import Seen
from fwd.ops.refusals import RefusalLog
from fwd.ops.report import Reporter
from fwd.ops.status import Status
from fwd.sources.base import LeaseSource


class Observer:
    """Of one agent."""

    def __init__(
        self, forwarding: Forwarding, *, source: LeaseSource, host: HostSetup, saver: Saver
    ) -> None:
        self._forwarding = forwarding
        self._source = source
        self._host = host
        self._saver = saver
        self._reporter = Reporter()
        self._refusals = RefusalLog()
        self._refused: tuple[Refusal, ...] = ()
        self._trouble: str | None = None
        self._begun = False
        self._ages = LeaseAges()
        self._named: tuple[tuple[Lease, ...], dict[Address, str]] = (), {}
        """Leases in force, and their nodes by underlay address."""
        self._drops = DropLog(self._views)
        self._capturing = Capturing()

    def forwarding(self, *, leases_of: str) -> None:
        """Packets flow, by leases of the source or of a saved state."""
        inherited: Counter[str] = Counter()
        for forwarder in self._forwarding.forwarders:
            inherited.update(forwarder.tunnel.inherited)
            layout = forwarder.station.layout
            tell_station(
                "forwarding",
                forwarder.station,
                device=layout.device,
                mtu=layout.mtu,
                leases=len(forwarder.leases),
                leases_of=leases_of,
                text="; Running backend.",
            )
        self._reporter.inherit(inherited)

    def leases_in_force(
        self, refused: Iterable[Refusal] = (), *, own_trouble: str | None = None
    ) -> None:
        """The leases of the moment are, but for those that were refused, and perhaps the own."""
        self._begun = True
        self._refused = (*refused, *self._forwarding.book.refused)
        self._refusals.tell(self._refused)
        self._ages.note(self._forwarding.book.leases)
        if own_trouble is not None:
            self._tell("own-lease-refused", own_trouble)
        elif self._trouble is not None:
            log.info("leases-good-again", leases=len(self._forwarding.book))
            self._trouble = None

    def leases_kept(self, trouble: str) -> None:
        """The source's last word cannot be in force."""
        self._tell("leases-refused", trouble)

    def _tell(self, event: str, trouble: str) -> None:
        """Once, and in the status for as long as it lasts."""
        if trouble != self._trouble:
            log.warning(event, error=trouble, kept=len(self._forwarding.book))
        self._trouble = trouble

    def tick(self) -> None:
        """Once a second."""
        drops: Counter[str] = Counter()
        for tunnel in self._forwarding.tunnels:
            if tunnel.plane is not None:
                self._reporter.offloads(tunnel.plane.wanted, tunnel.plane.offloads)
            drops.update(tunnel.counters())
        now = time.monotonic()
        self._reporter.drops(drops, now=now)
        self._reporter.processors(self._processor_times, now=now)
        self._drops.collect()

    def _processor_times(self) -> dict[tuple[str, int], ProcessorTime]:
        return {
            (tunnel.plane.settings.device, worker): spent
            for tunnel in self._forwarding.tunnels
            if tunnel.plane is not None
            for worker, spent in enumerate(tunnel.plane.processor_times())
            if spent is not None
        }

    def status(self) -> Status:
        """The document of the moment."""
        leases = tuple(leases_of(self._forwarding, self._ages))
        return replace(self._summary(), leases=leases)

    def _summary(self) -> Status:
        return gather(
            self._forwarding,
            host=self._host.state(),
            trouble=self._trouble or self._forwarding.underlay_trouble or self._saver.trouble,
            source=self._source.state(),
            refused=self._refused,
            ages=self._ages,
        )

    def seen(self) -> Seen:
        """For a scrape."""
        return Seen(
            status=self._summary(),
            leases=self._forwarding.book.leases,
            carried=partial(carried, self._forwarding),
        )

    def why_not_ready(self) -> str:
        """What is still waited for, in one line."""
        if not self._begun:
            source = self._source.state()
            return f"no leases yet ({source.kind}: {source.standing}, {source.detail})"
        waits = [one for one in self._host.state() if one.trouble or one.state == NOT_YET]
        return "; ".join(f"{one.name}: {one.trouble or one.state}" for one in waits) or "soon"

    async def serve(self, request: Request, asker: Asker) -> None:
        """Answers one request of the socket."""
        match request:
            case StatusRequest():
                await asker.send_line(self.status())
            case DropsRequest():
                await self._drops.serve(asker, follow=request.follow)
            case CaptureRequest():
                taps = tuple(map(_tap, self._forwarding.forwarders))
                header = header_of(
                    request,
                    node=self._forwarding.stations[0].lease.node,
                    version=version(),
                    taps=taps,
                    nodes={str(address): node for address, node in self._nodes().items()},
                )
                await self._capturing.serve(
                    asker, request, taps=taps, header=header, peers=self._peers()
                )

    def _views(self) -> Iterator[View]:
        nodes = self._nodes()
        for forwarder in self._forwarding.forwarders:
            if forwarder.tunnel.plane is not None:
                yield View(
                    device=forwarder.station.layout.device,
                    family=forwarder.family,
                    plane=forwarder.tunnel.plane,
                    nodes=nodes,
                )

    def _nodes(self) -> Mapping[Address, str]:
        """By underlay address; made anew when leases have changed, as drops ask all the time."""
        leases = self._forwarding.book.leases
        if leases != self._named[0]:
            self._named = leases, {lease.public_ip: lease.node for lease in leases}
        return self._named[1]

    def _peers(self) -> dict[str, PeerNets]:
        found: dict[str, PeerNets] = {}
        for lease in self._forwarding.book.leases:
            nets = found.get(lease.node, PeerNets(()))
            found[lease.node] = PeerNets(
                (*nets.addresses, lease.public_ip), (*nets.subnets, lease.subnet)
            )
        return found


def _tap(forwarder: Forwarder) -> Tap:
    station = forwarder.station
    return Tap(
        CapturedTunnel(
            device=station.layout.device,
            family=forwarder.family,
            underlay=station.underlay.name,
            address=str(station.underlay.address),
            port=station.settings.port,
        ),
        plane=lambda: forwarder.tunnel.plane,
    )
