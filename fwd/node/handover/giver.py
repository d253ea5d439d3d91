# SPDX-License-Identifier: Apache-2.0
"""The running agent's side of a hand-over: it listens in the run directory, and gives when asked.

While another agent takes over, this one holds still: no event of its own changes a tunnel.  Until
the other has said that it forwards, everything can be taken back; whatever goes wrong, the workers
here start again and what has waited in the kernel meanwhile is carried by them.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Self

from fwd.config import version
from fwd.core import handovertalk as talk
from fwd.node.handover.channel import Channel, Received, readable
from fwd.node.handover.kits import describe
from fwd.node.rundir import RunDir
from fwd.node.tunnel import Tunnel
from fwd.ops import log
from fwd.ops.rootsocket import RootSocket

SOCKET_NAME = "handover.sock"
HEAR_SECONDS = 5.0
"""For each message of the other agent."""
STOPPED_SECONDS = 15.0
"""The same once a tunnel is stopped here, and perhaps goes on there: the other one, which waits for
five seconds, has given up before this one does, so that two never forward at once."""
AGAIN_SECONDS = 0.1


class Giver:
    """Gives what this agent forwards with to the one that asks for it."""

    def __init__(
        self,
        place: RootSocket,
        run_dir: RunDir,
        *,
        node: str,
        tunnels: Callable[[], Sequence[Tunnel]],
        save: Callable[[], Awaitable[None]],
    ) -> None:
        """`save` puts on the disk what the next agent begins with."""
        self._place = place
        self._run_dir = run_dir
        self._node = node
        self._tunnels = tunnels
        self._save = save
        self.still = asyncio.Lock()
        """Held while nobody may change a tunnel."""

    @classmethod
    def open(
        cls,
        run_dir: RunDir,
        *,
        node: str,
        tunnels: Callable[[], Sequence[Tunnel]],
        save: Callable[[], Awaitable[None]],
    ) -> Self:
        """Listens; nobody finds it before `take_name`.  Raises OSError."""
        place = RootSocket.beside(run_dir.path / SOCKET_NAME, socket.SOCK_SEQPACKET)
        return cls(place, run_dir, node=node, tunnels=tunnels, save=save)

    def take_name(self) -> None:
        """In place of whoever listened before.  Raises OSError."""
        self._place.take_name()

    def leave_name(self) -> None:
        """Another agent listens, or will."""
        self._place.leave_name()

    def close(self) -> None:
        """Listens no more."""
        self._place.close()

    async def serve(self) -> None:
        """Returns when all has been given away."""
        while True:
            await readable(self._place.listener)
            try:
                sock, _ = self._place.listener.accept()
            except OSError:  # whoever it was is gone, or no descriptor is free
                await asyncio.sleep(AGAIN_SECONDS)
                continue
            channel = Channel(sock)
            try:
                if await self._talk(channel):
                    return
            except (OSError, ValueError) as error:
                log.warning("hand-over-failed", error=_said(error), text="this agent goes on")
            finally:
                channel.close()

    async def _talk(self, channel: Channel) -> bool:
        """Whether this agent has nothing left."""
        channel.check_peer()
        hello = (await self._hear(channel)).message
        if not isinstance(hello, talk.Hello):
            raise talk.MisunderstoodError(f"{hello} is no greeting")
        if hello.node not in ("", self._node):  # a Pod may not know its node's name yet
            channel.send(talk.Refused(reason=f"it is of node {self._node}"))
            return False
        version_spoken = talk.agree(hello)
        if version_spoken is None:
            return await self._end_cold(channel)
        await self._save()
        channel.send(talk.Welcome(node=self._node, release=version(), version=version_spoken))
        try:
            asked = (await self._hear(channel)).message
        except ConnectionResetError:
            return False  # it only wanted to know
        if not isinstance(asked, talk.Show):
            raise talk.MisunderstoodError(f"{asked} is not what comes after a greeting")
        await self.still.acquire()
        given = False
        try:
            given = await self._give(channel, release=hello.release)
        finally:
            if not given:  # else nothing here is ours to change any more
                self.still.release()
        return given

    async def _end_cold(self, channel: Channel) -> bool:
        """For an agent that speaks none of our versions: it may begin from nothing."""
        reason = f"this agent speaks versions {talk.OLDEST} to {talk.NEWEST} of the hand-over"
        channel.send(talk.Refused(reason=reason, cold=True))
        try:
            answer = (await self._hear(channel)).message
        except ConnectionResetError:
            return False
        if not isinstance(answer, talk.Done):
            return False
        for tunnel in self._tunnels():
            tunnel.close()
        channel.send(talk.Bye())
        return True

    async def _give(self, channel: Channel, *, release: str) -> bool:
        tunnels = {one.layout.device: one for one in self._tunnels()}
        paused: list[Tunnel] = []
        given = False
        try:
            kits = [one.plane for one in tunnels.values() if one.plane is not None]
            for plane in kits:
                channel.send(describe(plane), plane.descriptors.all)
            channel.send(talk.Shown(kits=len(kits)), [self._run_dir.lock])
            while not given:
                patience = STOPPED_SECONDS if paused else HEAR_SECONDS
                asked = (await self._hear(channel, patience)).message
                match asked:
                    case talk.Stop():
                        tunnel = _of(tunnels, asked.device)
                        paused.append(tunnel)
                        counters, learned = tunnel.pause()
                        channel.send(
                            talk.Stopped(device=asked.device, counters=counters, learned=learned)
                        )
                    case talk.Release():
                        _of(tunnels, asked.device).close()
                        channel.send(talk.Released(device=asked.device))
                    case talk.Done():
                        channel.send(talk.Bye())
                        given = True
                    case _:
                        raise talk.MisunderstoodError(f"{asked} is not what comes now")
        finally:
            if not given:
                for tunnel in paused:
                    tunnel.resume()
        log.info("handed-over", to=release, text="another agent forwards now")
        return True

    async def _hear(self, channel: Channel, seconds: float | None = None) -> Received:
        got = await channel.next(HEAR_SECONDS if seconds is None else seconds)
        got.close()  # nobody sends us descriptors
        return got


def _of(tunnels: dict[str, Tunnel], device: str) -> Tunnel:
    if device not in tunnels or tunnels[device].plane is None:
        raise ValueError(f"there is no {device}")
    return tunnels[device]


def _said(error: OSError | ValueError) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)
