# SPDX-License-Identifier: Apache-2.0
r"""`fwd run --supervise`: starts the agent, holds what it works with, and starts it again.

A program of its own that imports nothing of fwd, for it must never be what breaks: it knows no
configuration and no packets.  The agent gives it copies of its descriptors (TUN queues, sockets,
its table).  When the agent is gone the kernel goes on filling them, and the next agent finds them
here, so that what a crash costs is the time to start and not the packets meanwhile.

    python -P -S supervisor.py ARGS     ARGS are those of `fwd run`

What the agent says, on the SOCK_SEQPACKET socket whose number is in FWD_STORE, one datagram each:

    put NAME\n DATA       keep this, with the descriptors beside it, instead of what NAME had
    drop NAME            close it
    load                 everything, as `entry NAME\n DATA` each, then `end`

put and drop are answered with `ok`.  An agent that cannot begin ends this program, too, as it would
end alone; one that has forwarded is started again for ever, at once at first and then less and less
often.  One that has given all to another agent ends it as well, but not in a Pod, where the
container would only be started again and take everything back: there it stands by until the other
one is gone.
"""

import contextlib
import fcntl
import os
import select
import signal
import socket
import struct
import sys
import time

STORE = "FWD_STORE"
"""Environment: number of the descriptor."""
EXIT_GIVEN = 90
"""An agent's exit code after it has handed over."""
LOCK = "lock"
"""The entry whose data is the path of the run directory's lock."""

CALM_SECONDS = 5.0
"""Who lives that long is not in a loop of crashes; a stuck worker is noticed sooner."""
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 30.0
COLD_AFTER = 3
"""Crashes in a row: perhaps it is what was kept that they crash of."""
STOP_SECONDS = 10.0
STAND_BY_SECONDS = 5.0
DEEP = 10_000
"""Packets in each queue of a TUN while nobody reads them.  Its own number is small, so that
latency is, as long as somebody does."""
USUAL = 2_000
"""As cext/tun.c opens it: for a queue that somebody has left deep."""
DRAIN_SECONDS = 1.0
"""For what has waited: a queue made shorter drops what has no room any more (tun_queue_resize)."""
_IFREQ = struct.Struct("16si20x")
_SIOCGIFTXQLEN, _SIOCSIFTXQLEN = 0x8942, 0x8943
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
_MOST_BYTES, _MOST_DESCRIPTORS, _MOST_ENTRIES = 1 << 16, 250, 16


def queue_length(device: str, packets: int | None = None) -> int:
    """How many packets each queue of a device holds, perhaps made another number; -1: unknown."""
    request = bytearray(_IFREQ.pack(device.encode()[:15], 0))
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as control:
            fcntl.ioctl(control, _SIOCGIFTXQLEN, request)
            if packets is not None:
                asked = _IFREQ.pack(device.encode()[:15], packets)
                fcntl.ioctl(control, _SIOCSIFTXQLEN, asked)
    except OSError:
        return -1
    return int(_IFREQ.unpack(request)[1])


class Supervisor:
    """One agent at a time, and what it has given us."""

    def __init__(self, arguments: list[str]) -> None:
        self._arguments = arguments
        self._entries: dict[str, tuple[bytes, list[int]]] = {}
        self._child = 0
        self._talk: socket.socket | None = None
        self._has_forwarded = False
        self._began = 0.0
        self._crashes = 0
        self._lengths: dict[str, int] = {}
        """Of queues that we have made deep."""
        self._drained = 0.0
        """When they are as long as before again; 0: nobody reads them yet."""
        self._stopping = 0.0
        """When to kill an agent that was told to stop; 0: it was not."""
        self._wake, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        for one in _SIGNALS:
            signal.signal(one, lambda _number, _frame: None)

    def run(self) -> int:
        """The exit code."""
        self._start()
        while True:
            status = self._attend()
            lived = time.monotonic() - self._began
            code = os.waitstatus_to_exitcode(status)
            if self._stopping or code == 0 or not self._has_forwarded:
                return code if code >= 0 else 128 - code
            if code == EXIT_GIVEN:
                if not self._stand_by():
                    return 0
            elif not self._pause_after_crash(code, lived):
                return 0
            self._start()

    def _start(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        pid = os.fork()
        if pid == 0:
            try:
                os.set_inheritable(theirs.fileno(), True)
                for one in _SIGNALS:
                    signal.signal(one, signal.SIG_DFL)
                words = [sys.executable, "-m", "fwd", "run", *self._arguments]
                os.execve(words[0], words, os.environ | {STORE: str(theirs.fileno())})  # noqa: S606
            finally:
                os._exit(127)
        theirs.close()
        if self._talk is not None:
            self._talk.close()
        self._child, self._talk, self._began = pid, ours, time.monotonic()

    def _attend(self) -> int:
        """Keeps what the agent gives until it has ended; how it has."""
        while True:
            times = [one for one in (self._stopping, self._drained) if one]
            self._wait(max(min(times) - time.monotonic(), 0.01) if times else None)
            if self._stopping and time.monotonic() >= self._stopping:
                os.kill(self._child, signal.SIGKILL)
            if self._drained and time.monotonic() >= self._drained:
                self._shorten()
            while True:  # as the first process of a container we have other orphans, too
                try:
                    pid, status = os.waitpid(-1, os.WNOHANG)
                except ChildProcessError:
                    break
                if pid == 0:
                    break
                if pid == self._child:
                    self._child = 0  # the number may be another's soon
                    return status

    def _wait(self, seconds: float | None) -> None:
        """Until a signal or a message has come, and deals with messages and with being stopped."""
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        if self._talk is not None:
            poll.register(self._talk, select.POLLIN)
        for fd, _ in poll.poll(None if seconds is None else seconds * 1000):
            if fd != self._wake:
                self._hear()
                continue
            numbers = os.read(self._wake, 512)
            for one in (signal.SIGTERM, signal.SIGINT):
                if one in numbers and not self._stopping:
                    self._stopping = time.monotonic() + STOP_SECONDS
                    if self._child:
                        os.kill(self._child, one)

    def _hear(self) -> None:
        assert self._talk is not None
        try:
            data, fds, flags, _ = socket.recv_fds(
                self._talk, _MOST_BYTES, _MOST_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC
            )
            if not data or flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
                raise ValueError("a message that cannot be")
            self._obey(data, fds)
        except BlockingIOError:
            pass
        except (OSError, ValueError, UnicodeDecodeError):  # its end, or nothing to be kept
            self._talk.close()
            self._talk = None

    def _obey(self, data: bytes, fds: list[int]) -> None:
        assert self._talk is not None
        head, _, rest = data.partition(b"\n")
        verb, _, name = head.decode().partition(" ")
        if verb == "load":
            _close(fds)
            for key, (kept, descriptors) in self._entries.items():
                socket.send_fds(self._talk, [f"entry {key}\n".encode() + kept], descriptors)
            self._talk.send(b"end")
            return
        _close(self._entries.pop(name, (b"", []))[1])
        if verb == "put" and len(self._entries) < _MOST_ENTRIES:
            self._entries[name] = rest, fds
            self._has_forwarded |= bool(fds)
            if name in self._lengths:
                self._drained = time.monotonic() + DRAIN_SECONDS
        else:
            _close(fds)
        self._talk.send(b"ok")

    def _pause_after_crash(self, code: int, lived: float) -> bool:
        """False: stopped meanwhile."""
        self._deepen()
        self._crashes = 1 if lived >= CALM_SECONDS else self._crashes + 1
        pause = 0.0
        if self._crashes > 1:
            pause = min(FIRST_PAUSE * 2 ** (self._crashes - 2), LONGEST_PAUSE)
        if self._crashes == COLD_AFTER:
            say("store-dropped", text="it crashed again and again: begins from nothing")
            self._drop_all()
        say(
            "agent-crashed",
            reason=_reason(code),
            lived_seconds=f"{lived:.1f}",
            in_a_row=self._crashes,
            again_in_seconds=f"{pause:g}",
        )
        end = time.monotonic() + pause
        while not self._stopping and time.monotonic() < end:
            self._wait(end - time.monotonic())
        return not self._stopping

    def _stand_by(self) -> bool:
        """Whether to start again; False: this program is done."""
        path = self._entries.get(LOCK, (b"", []))[0]
        self._drop_all()
        self._has_forwarded = True
        if "KUBERNETES_SERVICE_HOST" not in os.environ or not path:
            return False
        say("stands-by", text="another agent forwards; this one is there if it goes away")
        free_since = None
        while not self._stopping:
            self._wait(1.0)
            if not _is_free(path):
                free_since = None
            elif free_since is None:
                free_since = time.monotonic()
            elif time.monotonic() - free_since >= STAND_BY_SECONDS:
                say("stands-by-no-more", text="the other agent is gone")
                return True
        return False

    def _deepen(self) -> None:
        """Room for what comes until an agent has its device again."""
        self._drained = 0.0
        for name in self._entries:
            if name not in self._lengths and (length := queue_length(name, DEEP)) >= 0:
                self._lengths[name] = length if length < DEEP else USUAL

    def _shorten(self) -> None:
        while self._lengths:
            queue_length(*self._lengths.popitem())
        self._drained = 0.0

    def _drop_all(self) -> None:
        for _, descriptors in self._entries.values():
            _close(descriptors)
        self._entries.clear()


def _is_free(path: bytes) -> bool:
    with contextlib.suppress(OSError), os.fdopen(os.open(path, os.O_RDWR | os.O_CLOEXEC)) as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def _close(descriptors: list[int]) -> None:
    for fd in descriptors:
        with contextlib.suppress(OSError):
            os.close(fd)


def _reason(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {-code} ({signal.Signals(-code).name})"
    except ValueError:
        return f"signal {-code}"


def say(event: str, **fields: object) -> None:
    """A line in the form of `ops.log`."""
    now = time.time()
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03d}Z"
    words = [f"time={stamp} level=warning event={event}"]
    for key, value in fields.items():
        text = str(value)
        quoted = f'"{text}"' if " " in text else text
        words.append(f"{key.replace('_', '-')}={quoted}")
    with contextlib.suppress(OSError):
        os.write(2, (" ".join(words) + "\n").encode())


if __name__ == "__main__":
    sys.exit(Supervisor(sys.argv[1:]).run())
