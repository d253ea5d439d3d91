# SPDX-License-Identifier: Apache-2.0
"""The starting agent's side of a hand-over.

First it only asks whether somebody would give (`probe`): finding out where the node stands and
which leases there are may take its time, the other one forwards meanwhile.  Then, tunnel by tunnel,
everything is made ready on the other's descriptors, and only between `Stop` and `Plane.start` does
nobody forward: some milliseconds, in which packets wait in the kernel.
"""

import os
import time
from collections.abc import Mapping
from typing import TypeVar

from fwd.config import version
from fwd.core import handovertalk as talk
from fwd.model import FwdError
from fwd.node.handover.channel import Channel, Received
from fwd.node.handover.giver import SOCKET_NAME
from fwd.node.handover.kits import sort_out, why_not
from fwd.node.rundir import RunDir
from fwd.ops import log
from fwd.plane import Descriptors, Plane, PlaneSettings

HEAR_SECONDS = 5.0
ORPHAN_SECONDS = 0.2
"""For the kernel to give back the lock of a process that has just ended."""
_AGAIN_SECONDS = 0.01
Answer = TypeVar("Answer", bound=talk.Message)


class OtherNodeError(FwdError):
    """The agent that runs is another node's."""


class TakeOverError(FwdError):
    """It does not give, now or ever."""


class Taker:
    """Takes over from the agent that has the run directory."""

    has_ended = False

    def __init__(self, run_dir: RunDir, *, node: str) -> None:
        self._run_dir = run_dir
        self._node = node
        self._channel: Channel | None = None
        self._kits: dict[str, tuple[talk.Kit, Descriptors | None]] = {}
        """None: they are not what the kit says, so of no use."""
        self._taken: set[str] = set()
        self._lock: int | None = None
        self._from = ""
        self._paused = 0.0
        """Seconds in which a tunnel was read by nobody, of the one that had most."""
        self._is_done = False
        self._is_orphan = False
        """The giver has died on the way.  What it has given is ours, and the rest nobody's."""

    def probe(self) -> bool:
        """Whether somebody gives.  False: it has ended instead, and the start is a cold one.

        Raises OtherNodeError, or TakeOverError if it does not for another reason.
        """
        try:
            return self._greet()
        except (OSError, ValueError) as error:
            raise TakeOverError(_said(error)) from error
        finally:
            self.abort()

    def take(self, settings: PlaneSettings) -> Plane | None:
        """See Legacy.  Raises TakeOverError."""
        if self._is_done:  # who listens now is this agent itself
            return None
        try:
            if self._channel is None and not self._is_orphan and not self._begin_or_alone():
                return None
            found = self._kits.pop(settings.device, None)
            if found is None:
                return None
            kit, descriptors = found
            if descriptors is not None:
                reason = why_not(kit, settings)
                if reason is None:
                    self._taken.add(settings.device)
                    return Plane.on(settings, descriptors)
                log.info("not-taken-over", device=settings.device, reason=reason)
            self._release(settings.device, descriptors)
        except (OSError, ValueError) as error:
            raise TakeOverError(f"cannot take over {settings.device}: {_said(error)}") from error
        return None

    def start(self, plane: Plane) -> Mapping[str, int]:
        """See Legacy.  Raises TakeOverError."""
        if plane.settings.device not in self._taken:
            plane.start()
            return {}
        device = plane.settings.device
        begin = time.monotonic()
        try:
            stopped = self._ask(talk.Stop(device=device), talk.Stopped)
            if stopped is not None:
                plane.relearn(stopped.learned)
            plane.start()
        except (OSError, ValueError) as error:
            raise TakeOverError(f"the hand-over broke off: {_said(error)}") from error
        self._paused = max(self._paused, time.monotonic() - begin)
        return {} if stopped is None else stopped.counters

    def done(self) -> None:
        """See Legacy.  Raises TakeOverError."""
        self._is_done = True
        if self._channel is None:
            return
        try:
            while self._kits:  # families that are off now
                device, (_, descriptors) = self._kits.popitem()
                self._release(device, descriptors)
            self._ask(talk.Done(), talk.Bye)
        except (OSError, ValueError) as error:
            raise TakeOverError(f"the hand-over broke off: {_said(error)}") from error
        lock, self._lock = self._lock, None
        if lock is not None:
            self._run_dir.adopt(lock)
        log.info("taken-over", of=self._from, paused_ms=f"{1000 * self._paused:.1f}")
        self.abort()

    def abort(self) -> None:
        """See Legacy; closes what was received and not used."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        for _, descriptors in self._kits.values():
            if descriptors is not None:
                descriptors.close()
        self._kits.clear()
        self._taken.clear()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _greet(self) -> bool:
        self._channel = Channel.connect(self._run_dir.path / SOCKET_NAME)
        self._channel.check_peer()
        hello = talk.Hello(
            node=self._node, release=version(), oldest=talk.OLDEST, newest=talk.NEWEST
        )
        self._channel.send(hello)
        answer = self._hear().message
        if isinstance(answer, talk.Refused):
            if not answer.cold:
                raise OtherNodeError(answer.reason)
            self._ask(talk.Done(), talk.Bye)
            log.warning("cold-start", reason=answer.reason)
            return False
        if not isinstance(answer, talk.Welcome):
            raise talk.MisunderstoodError(f"{answer} is no answer to a greeting")
        self._from = answer.release
        return True

    def _begin(self) -> None:
        """Asks for the kits, of which none is used yet."""
        if not self._greet():
            raise ValueError("the other agent has changed")
        assert self._channel is not None
        self._channel.send(talk.Show())
        while True:
            got = self._hear()
            match got.message:
                case talk.Kit() as kit:
                    self._keep(kit, got.take())
                case talk.Shown():
                    fds = got.take()
                    self._lock = fds.pop() if fds else None
                    for fd in fds:
                        os.close(fd)
                    if self._lock is not None:  # once it has said Bye, nobody else forwards
                        self._run_dir.check(self._lock)
                    return
                case other:
                    got.close()
                    raise talk.MisunderstoodError(f"{other} is not what comes now")

    def _keep(self, kit: talk.Kit, fds: list[int]) -> None:
        try:
            self._kits[kit.device] = kit, sort_out(kit, fds)
        except ValueError as error:
            for fd in fds:
                os.close(fd)
            log.warning("not-taken-over", device=kit.device, reason=str(error))
            self._kits[kit.device] = kit, None

    def _release(self, device: str, descriptors: Descriptors | None) -> None:
        """The other one closes what we cannot use, and so do we: then it can be made anew."""
        if descriptors is not None:
            descriptors.close()
        self._ask(talk.Release(device=device), talk.Released)

    def _ask(self, message: talk.Message, answer: type[Answer]) -> Answer | None:
        """The giver's answer; None if there is no giver any more."""
        try:
            return self._asked(message, answer)
        except OSError:
            if self._is_alone():
                return None
            raise

    def _asked(self, message: talk.Message, answer: type[Answer]) -> Answer:
        if self._channel is None:
            raise BrokenPipeError
        self._channel.send(message)
        got = self._hear()
        got.close()
        if not isinstance(got.message, answer):
            raise talk.MisunderstoodError(f"{got.message} is no answer to {message}")
        return got.message

    def _begin_or_alone(self) -> bool:
        """_begin(); False: there is nobody to begin with any more."""
        try:
            self._begin()
        except OSError:
            if self._is_alone():
                self.abort()
                return False
            raise
        return True

    def _is_alone(self) -> bool:
        """Whether the giver has died: then nobody else has the run directory."""
        if self._lock is not None:  # the giver's own, which we must not keep for it
            os.close(self._lock)
            self._lock = None
        end = time.monotonic() + ORPHAN_SECONDS
        while not self._run_dir.try_lock():
            if time.monotonic() > end:
                return False
            time.sleep(_AGAIN_SECONDS)
        if not self._is_orphan:
            log.warning("giver-lost", text="it has ended while it handed over; this one goes on")
        self._is_orphan = True
        return True

    def _hear(self) -> Received:
        assert self._channel is not None
        return self._channel.receive(HEAR_SECONDS)


def _said(error: OSError | ValueError) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)
