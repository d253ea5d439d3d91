# SPDX-License-Identifier: Apache-2.0
"""The program: one agent at a time, what it has given us, and the process that would be the next.

An agent that cannot begin ends this program, too, as it would end alone; one that had begun, or was
killed while it forwarded already, is started again for ever, at once at first and then less and
less often.  One that has given all to another agent ends it as well, but not in a Pod, where the
container would only be started again and take everything back: there it stands by until the other
one is gone.
"""

import contextlib
import fcntl
import os
import select
import signal
import time
from collections.abc import Sequence

from fwd.supervisor.child import SIGNALS, Child
from fwd.supervisor.kept import Kept, close_all, receive
from fwd.supervisor.pauses import FIRST_PAUSE, LONGEST_PAUSE, Pauses
from fwd.supervisor.queues import Queues
from fwd.supervisor.saying import reason, say
from fwd.supervisor.words import BEGUN, EXIT_GIVEN, FORGET

STOP_SECONDS = 10.0
STAND_BY_SECONDS = 5.0
SPARE_SECONDS = 1.0
"""From an agent's begin to the next spare's: that one must not take the processor from it."""
SPARE_LOST_SECONDS = 60.0
"""From a spare's end to the next one, so that nothing goes round fast."""


class Supervisor:
    """From the first agent to the end of the last."""

    def __init__(self, arguments: Sequence[str], *, keeps_spare: bool) -> None:
        self._arguments = arguments
        self._keeps_spare = keeps_spare
        self._kept = Kept()
        self._queues = Queues()
        self._pauses = Pauses()
        self._agent: Child | None = None
        self._spare: Child | None = None
        self._spare_due = 0.0
        """When to start one; 0: there is one, or none is wanted."""
        self._has_begun = False
        self._stopping = 0.0
        """When to kill an agent that was told to stop; 0: it was not."""
        self._asked = 0
        """How often we were asked to stop: a second time is not to be waited for."""
        self._wake, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        for one in SIGNALS:
            may_be_ignored = one in (signal.SIGHUP, signal.SIGQUIT)  # as by nohup
            if not may_be_ignored or signal.getsignal(one) != signal.SIG_IGN:
                signal.signal(one, lambda _number, _frame: None)

    def run(self) -> int:
        """The exit code."""
        try:
            return self._run()
        finally:
            self._queues.shorten()
            self._end_spare()

    def _run(self) -> int:
        goes_on = self._start()
        while goes_on:
            code, lived = self._attend()
            if self._stopping and code == EXIT_GIVEN:
                return 0
            if self._stopping or code == 0 or not self._is_followed(code):
                return code if code >= 0 else 128 - code
            goes_on = self._stand_by() if code == EXIT_GIVEN else self._after_crash(code, lived)
        return 0

    def _is_followed(self, code: int) -> bool:
        """Whether there is another one after its end; before its begin, if it was killed."""
        return self._has_begun or (code < 0 and self._kept.has_tunnels)

    def _start(self) -> bool:
        """An agent, the spare if there is one.  False: we were stopped meanwhile."""
        spare, self._spare = self._spare, None
        if spare is not None:
            try:
                spare.go()
                self._agent = spare
            except OSError:  # it has just ended
                spare.hang_up()
        pause = FIRST_PAUSE
        while self._agent is None and not self._stopping:
            try:
                self._agent = Child.start(self._arguments, waits=False)
            except OSError as error:  # no process or no memory to be had
                say("agent-not-started", error=str(error.strerror), again_in_seconds=pause)
                self._sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
        if self._keeps_spare:
            self._spare_due = time.monotonic() + SPARE_SECONDS
        return self._agent is not None

    def _attend(self) -> tuple[int, float]:
        """Keeps what the agent gives until it has ended; its exit code and how long it lived."""
        while True:
            times = [one for one in (self._stopping, self._queues.due, self._spare_due) if one]
            self._wait(max(min(times) - time.monotonic(), 0.01) if times else None)
            now = time.monotonic()
            if self._stopping and now >= self._stopping:
                self._signal(signal.SIGKILL)
            if self._queues.due and now >= self._queues.due:
                self._queues.shorten()
            if self._spare_due and now >= self._spare_due:
                self._prepare()
            ended = self._reap()
            if ended is not None:
                return ended

    def _prepare(self) -> None:
        """A spare, once there has been an agent worth to be followed."""
        self._spare_due = time.monotonic() + SPARE_SECONDS
        if self._stopping or not self._has_begun:
            return
        try:
            self._spare = Child.start(self._arguments, waits=True)
            self._spare_due = 0.0
        except OSError:  # not now, then
            self._spare_due = time.monotonic() + SPARE_LOST_SECONDS

    def _reap(self) -> tuple[int, float] | None:
        """Sees to whoever has ended; of the agent, how it has and how long it lived."""
        ended = None
        while True:  # as the first process of a container we have other orphans, too
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return ended
            if pid == 0:
                return ended
            code = os.waitstatus_to_exitcode(status)
            if self._agent is not None and pid == self._agent.pid:
                ended = code, time.monotonic() - self._agent.began
                while self._hear():  # what it said last may be that nothing is to be kept
                    pass
                self._agent.hang_up()
                self._agent = None  # the number may be another's soon
            elif self._spare is not None and pid == self._spare.pid:
                if not self._stopping:  # else who ends us has ended it, too
                    say("spare-lost", reason=reason(code), text="a crash costs some more time")
                self._spare.hang_up()
                self._spare = None
                self._spare_due = time.monotonic() + SPARE_LOST_SECONDS

    def _wait(self, seconds: float | None) -> None:
        """Until a signal or a message has come, and deals with messages and with being stopped."""
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        if self._agent is not None and self._agent.talk is not None:
            poll.register(self._agent.talk, select.POLLIN)
        for fd, _ in poll.poll(None if seconds is None else seconds * 1000):
            if fd != self._wake:
                self._hear()
                continue
            for number in os.read(self._wake, 512):
                self._told(number)

    def _told(self, number: int) -> None:
        """A signal has come."""
        if number == signal.SIGCHLD:
            return
        # A terminal that goes away says SIGHUP, and somebody may say SIGTERM right after it.
        self._asked += number in (signal.SIGTERM, signal.SIGINT)
        if not self._stopping:
            self._stopping = time.monotonic() + STOP_SECONDS
            self._signal(signal.SIGINT if number == signal.SIGINT else signal.SIGTERM)
        elif self._asked > 1:  # kills, as with flannel
            self._stopping = time.monotonic()

    def _signal(self, number: int) -> None:
        if self._agent is not None:
            os.kill(self._agent.pid, number)

    def _sleep(self, seconds: float) -> None:
        """Until then, or until we are stopped."""
        end = time.monotonic() + seconds
        while not self._stopping and (left := end - time.monotonic()) > 0:
            self._wait(left)
            self._reap()

    def _hear(self) -> bool:
        """Whether there may be more to hear now."""
        agent = self._agent
        if agent is None or agent.talk is None:
            return False
        try:
            data, fds = receive(agent.talk)
        except BlockingIOError:
            return False
        except ConnectionResetError:  # it left an answer unread; what it said before is to come
            return True
        except EOFError:  # the end of an agent that crashed, perhaps: what is kept is for the next
            agent.hang_up()
            return False
        except (OSError, ValueError):  # it lives, and no drop of it will be heard any more
            agent.hang_up()
            self._has_begun = True  # we would not hear it say so
            self._kept.drop_tunnels()
            return False
        with contextlib.suppress(OSError):  # it does not wait any more, and has said so or ended
            self._obey(agent, data, fds)
        return True

    def _obey(self, agent: Child, data: bytes, fds: list[int]) -> None:
        assert agent.talk is not None
        head, _, rest = data.partition(b"\n")
        verb, _, name = head.decode(errors="replace").partition(" ")
        self._has_begun |= data in (BEGUN, FORGET)  # who says that it goes on has begun, or will
        if verb == "put":
            self._kept.put(name, rest, fds)
            self._queues.read_again(name)
        else:
            close_all(fds)
        if data == FORGET:
            self._kept.drop_tunnels()
            return
        if verb == "load":
            self._kept.send(agent.talk)
            return
        if verb == "drop":
            self._kept.drop(name)
        agent.talk.send(b"ok")

    def _after_crash(self, code: int, lived: float) -> bool:
        """Another agent, as soon as may be; talk comes after it.  False: stopped meanwhile."""
        pause = self._pauses.after(lived, killed=code == -signal.SIGKILL)
        if self._pauses.colds:  # somebody else may begin in the pause
            self._kept.drop_all()
            self._queues.shorten()
        elif pause or self._spare is None:
            self._queues.deepen(self._kept.devices)
        goes_on = bool(pause) or self._start()
        if self._pauses.colds == 1:
            say("store-dropped", text="it crashed again and again: begins from nothing")
        say(
            "agent-crashed",
            reason=reason(code),
            lived_seconds=round(lived, 1),
            in_a_row=self._pauses.crashes,
            again_in_seconds=pause,
        )
        if pause:
            self._sleep(pause)
            goes_on = not self._stopping and self._start()
        return goes_on

    def _stand_by(self) -> bool:
        """Whether to start again; False: this program is done."""
        path = self._kept.lock
        self._kept.drop_all()
        self._end_spare()
        if "KUBERNETES_SERVICE_HOST" not in os.environ or not path:
            return False
        say("stands-by", text="another agent forwards; this one is there if it goes away")
        free_since = None
        while not self._stopping:
            self._wait(1.0)
            self._reap()
            if not _is_free(path):
                free_since = None
            elif free_since is None:
                free_since = time.monotonic()
            elif time.monotonic() - free_since >= STAND_BY_SECONDS:
                say("stands-by-no-more", text="the other agent is gone")
                return self._start()
        return False

    def _end_spare(self) -> None:
        spare, self._spare, self._spare_due = self._spare, None, 0.0
        if spare is not None:
            spare.hang_up()
            os.kill(spare.pid, signal.SIGKILL)
            os.waitpid(spare.pid, 0)


def _is_free(path: bytes) -> bool:
    with contextlib.suppress(OSError), os.fdopen(os.open(path, os.O_RDWR | os.O_CLOEXEC)) as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False
