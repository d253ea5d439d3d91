# SPDX-License-Identifier: Apache-2.0
"""The agent that runs on this node: what it says of itself, and the flags that it was given.

Who calls `fwd doctor` without flags in the agent's container, or on the agent's host, means the
running one; its command line and environment are the kernel's to tell.
"""

import os
import socket
import struct
from collections.abc import Mapping
from contextlib import suppress
from ipaddress import ip_network
from pathlib import Path

import msgspec
from msgspec import Struct

from fwd.core.unreadable import UNREADABLE
from fwd.model import FwdError, Network
from fwd.ops import status
from fwd.ops.control import SOCKET_NAME, Connection, DropsRequest
from fwd.ops.drops import DropLine, stamp
from fwd.ops.status import Status

_PEERCRED = struct.Struct("=iII")
"""struct ucred: pid, uid, gid."""
_SECONDS = 2.0


class TunnelView(Struct, frozen=True):
    """What is of interest here of one family's tunnel."""

    device: str
    subnet: Network
    mac: str
    forwarding: bool
    offloads: tuple[str, ...]
    fallen_back: tuple[str, ...]


class RunningAgent(Struct, frozen=True):
    """An agent that answers."""

    status: Status
    tunnels: Mapping[int, TunnelView]
    """By family."""
    pid: int
    """0: in a pid namespace that we do not see."""

    def forwards(self, family: int) -> bool:
        """Whether packets of this family flow."""
        return family in self.tunnels and self.tunnels[family].forwarding


class Invocation(Struct, frozen=True):
    """How a process was started."""

    flags: tuple[str, ...]
    environ: dict[str, str]
    directory: Path


def find(run_dir: Path) -> RunningAgent | None:
    """The agent of this run directory; None: none answers, or not in a way that we understand."""
    with suppress(FwdError, OSError):
        document = status.decode(status.fetch(run_dir))
        return RunningAgent(document, _tunnels(document), pid=_listener(run_dir))
    return None


def drops_since(run_dir: Path, time_ns: int) -> list[DropLine]:
    """Those that the agent remembers from then on, in nanoseconds since 1970.  Raises FwdError."""
    since = stamp(time_ns)
    with Connection(run_dir, DropsRequest()) as connection:
        try:
            drops = [msgspec.json.decode(line, type=DropLine) for line in connection.lines()]
        except UNREADABLE as error:
            raise FwdError(f"the agent's answer is not of this version: {error}") from error
    return [drop for drop in drops if drop.time >= since]


def _tunnels(document: Status) -> dict[int, TunnelView]:
    return {
        tunnel.family: TunnelView(
            device=tunnel.device,
            subnet=ip_network(tunnel.subnet),
            mac=tunnel.vtep_mac,
            forwarding=tunnel.forwarding,
            offloads=tunnel.offloads.in_force,
            fallen_back=tunnel.offloads.fallen_back,
        )
        for tunnel in document.tunnels
    }


def _listener(run_dir: Path) -> int:
    """Process id of whoever listens on the status socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(_SECONDS)
        client.connect(str(run_dir / SOCKET_NAME))
        found = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEERCRED.size)
    return int(_PEERCRED.unpack(found)[0])


def listens(run_dir: Path) -> bool:
    """Whether somebody does, even if there is no answer."""
    try:
        _listener(run_dir)
    except (FileNotFoundError, ConnectionRefusedError):
        return False
    except OSError:  # too busy to be connected to
        return True
    return True


def invocation(pid: int) -> Invocation | None:
    """An agent's flags; None where they cannot be read."""
    process = Path(f"/proc/{pid}")
    try:
        words = _strings(process / "cmdline")
        pairs = (one.partition("=") for one in _strings(process / "environ"))
        environ = {name: value for name, _, value in pairs}
        directory = process / "cwd"
    except OSError:
        return None
    flags = flags_of(words)
    return None if flags is None else Invocation(tuple(flags), environ, directory)


def flags_of(words: list[str]) -> list[str] | None:
    """What stands behind `fwd run` or `flanneld`, however these were started."""
    for position, word in enumerate(words):
        if os.path.basename(word) == "flanneld":  # noqa: PTH119 - a word, not a path
            return words[position + 1 :]
        if word == "run":
            return words[position + 1 :]
    return None


def _strings(path: Path) -> list[str]:
    return path.read_bytes().decode(errors="surrogateescape").rstrip("\0").split("\0")
