# SPDX-License-Identifier: Apache-2.0
"""What an agent that starts and the one that runs say to each other, as bytes.

The talk, T being the one that takes over and G the one that gives:

    T Hello          who I am, and which versions of this talk I know
    G Welcome        the version that we speak; what is in force is saved     (or Refused)
    T Show           G holds still from here on
    G Kit, Kit ...   a tunnel each: what it was made for; its descriptors beside the message
    G Shown          that was all; the lock of the run directory beside it
    T Stop           for each tunnel that T goes on with
    G Stopped        its workers have ended; what they counted and learned
    T Release        for each tunnel that T cannot use as it is
    G Released       its descriptors are closed
    T Done           T forwards
    G Bye            G is no longer the agent of this node

Whoever hears nothing for a while, or the other's end, goes on as if the talk had not been: G's
workers start again.  A message is one JSON object, tagged with its kind, in one datagram.  Unknown
fields are ignored, and of two versions the highest that both know is spoken; so an agent may be
replaced by the next version and by the one before.
"""

import msgspec
from msgspec import Struct

from fwd.core.unreadable import UNREADABLE

OLDEST, NEWEST = 1, 1
"""Versions that this program speaks."""
MOST_BYTES = 192 * 1024
"""Of a message: what a unix socket takes at once by default is somewhat more."""
MOST_DESCRIPTORS = 250
"""With a message (SCM_MAX_FD is 253): 64 workers have 145."""


class MisunderstoodError(ValueError):
    """The other one says what has no place here."""


class Message(Struct, frozen=True, tag_field="kind"):
    """Any of them."""


class Hello(Message, frozen=True, tag="hello"):
    """The first word."""

    node: str
    release: str
    oldest: int
    newest: int


class Welcome(Message, frozen=True, tag="welcome"):
    """The talk may go on."""

    node: str
    release: str
    version: int


class Refused(Message, frozen=True, tag="refused"):
    """It may not.  If `cold`, Done is understood all the same: G ends, T begins from nothing."""

    reason: str
    cold: bool = False


class Show(Message, frozen=True, tag="show"):
    """Asks for the kits."""


class Kit(Message, frozen=True, tag="kit"):
    """A tunnel.  Beside it come its descriptors: TUN queues, receiving, sending sockets, TAP."""

    device: str
    family: int
    mac: bytes
    local: str
    vni: int
    port: int
    mtu: int
    workers: int
    """Wanted; there is a receiving socket for each that was had, `receivers`."""
    offloads: int
    """Wanted, as cext/api.h numbers them; `granted` are those in force."""
    granted: int
    queues: int
    sources: int
    source_check: int
    icmp_rate: int
    scope: int = 0
    cpus: tuple[int, ...] = ()
    spin_us: int = 0
    taps: int = 0
    receivers: int = 0
    """0, of a version before there were several queues a worker: as many as queues."""


class Shown(Message, frozen=True, tag="shown"):
    """There are no more kits.  Beside it comes the run directory's lock."""

    kits: int


class Stop(Message, frozen=True, tag="stop"):
    """Asks that a tunnel's workers end."""

    device: str


class Stopped(Message, frozen=True, tag="stopped"):
    """They have."""

    device: str
    counters: dict[str, int]
    learned: bytes = b""


class Release(Message, frozen=True, tag="release"):
    """Asks that a tunnel is closed."""

    device: str


class Released(Message, frozen=True, tag="released"):
    """It is."""

    device: str


class Done(Message, frozen=True, tag="done"):
    """The other one forwards."""


class Bye(Message, frozen=True, tag="bye"):
    """And this one ends."""


_Any = (
    Hello
    | Welcome
    | Refused
    | Show
    | Kit
    | Shown
    | Stop
    | Stopped
    | Release
    | Released
    | Done
    | Bye
)
_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[_Any] = msgspec.json.Decoder(_Any)


def encode(message: Message) -> bytes:
    """One message."""
    return _encoder.encode(message)


def decode(data: bytes) -> _Any:
    """The reverse.  ValueError for anything else, in a line that says what it is."""
    try:
        return _decoder.decode(data)
    except UNREADABLE as error:
        raise ValueError(f"it is no message of ours: {error}") from error


def agree(hello: Hello) -> int | None:
    """The version that both speak, if there is one."""
    version = min(hello.newest, NEWEST)
    return version if version >= max(hello.oldest, OLDEST) else None
