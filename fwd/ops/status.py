# SPDX-License-Identifier: Apache-2.0
"""The status socket: one JSON document a connection, then close.  Root only.

The server side is the agent's, the client side is `fwd status`.  What the document says is gathered
by the agent; here is its shape, its way across the socket and its form for people.
"""

import asyncio
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Self

import msgspec
from msgspec import Struct

from fwd.model import IPV4, FwdError

SOCKET_NAME = "fwd.sock"
_SEND_SECONDS = 5.0
_READ_SECONDS = 5.0


class LeaseStatus(Struct, frozen=True, rename="kebab"):
    """A peer's lease in force."""

    node: str
    subnet: str
    public_ip: str
    vtep_mac: str


class SourceStatus(Struct, frozen=True, rename="kebab"):
    """Where leases come from, how that stands, and whether those in force are from there."""

    kind: str
    standing: str
    detail: str
    leases_of: str
    """`source`, or `saved state` until the source has told all it knows."""


class RefusalStatus(Struct, frozen=True):
    """A node that is left out, wholly or for one family."""

    node: str
    reason: str


class HostStatus(Struct, frozen=True, rename="kebab"):
    """A part of what the host needs besides the tunnel: rules, subnet.env, ..."""

    part: str
    state: str
    """`not yet`, or how it stands."""
    trouble: str | None
    """Why it is not as it must be, while it is not."""
    repairs: int
    last_repair: str | None


class OffloadStatus(Struct, frozen=True, rename="kebab"):
    """Offloads by name: used now, asked for but not granted, not asked for."""

    in_force: tuple[str, ...]
    fallen_back: tuple[str, ...]
    disabled: tuple[str, ...]


class DropStatus(Struct, frozen=True):
    """One reason for drops, packets so far, and what the reason means."""

    reason: str
    count: int
    text: str


class TunnelStatus(Struct, frozen=True, rename="kebab"):
    """One family's tunnel.  Counters are packets and bytes since the agent started."""

    family: int
    """4 or 6."""
    subnet: str
    public_ip: str
    vtep_mac: str
    device: str
    mtu: int
    underlay: str
    forwarding: bool
    direct_routes: int
    """Peers on our link that the kernel routes to, without the tunnel."""
    workers: int
    retired_tables: int
    offloads: OffloadStatus
    counters: dict[str, int]
    worker_counters: tuple[dict[str, int], ...]
    drops: tuple[DropStatus, ...]


class Status(Struct, frozen=True, rename="kebab"):
    """The document."""

    version: str
    node: str
    vni: int
    port: int
    source_check: str
    forwarding: bool
    """Whether every tunnel does."""
    trouble: str | None
    """Why the source's last word is not in force, or where the underlay went, if so."""
    source: SourceStatus
    host: tuple[HostStatus, ...]
    refused: tuple[RefusalStatus, ...]
    leases: tuple[LeaseStatus, ...]
    """The peers', of all families."""
    tunnels: tuple[TunnelStatus, ...]
    """One a family that is on, IPv4 first."""


class StatusServer:
    """Listens in the run directory and answers every connection with the document of the moment."""

    def __init__(self, path: Path, server: asyncio.Server) -> None:
        self._path = path
        self._server = server

    @classmethod
    async def open(cls, run_dir: Path, gather: Callable[[], Status]) -> Self:
        """Replaces a socket left by an agent that is gone: the caller holds the run dir's lock."""
        path = run_dir / SOCKET_NAME
        with suppress(FileNotFoundError):
            path.unlink()

        async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await _answer(writer, gather)

        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # The mode is made by the mask, so that there is no moment in which others may connect.
            mask = os.umask(0o177)
            try:
                listener.bind(str(path))
            finally:
                os.umask(mask)
            server = await asyncio.start_unix_server(answer, sock=listener)
        except BaseException:
            listener.close()
            raise
        return cls(path, server)

    def close(self) -> None:
        """Stops listening and removes the socket."""
        self._server.close()
        with suppress(FileNotFoundError):
            self._path.unlink()


async def _answer(writer: asyncio.StreamWriter, gather: Callable[[], Status]) -> None:
    try:
        writer.write(msgspec.json.encode(gather()))
        async with asyncio.timeout(_SEND_SECONDS):
            await writer.drain()
    except (OSError, TimeoutError):
        writer.transport.abort()  # the asker is gone or asleep: no loss of ours
    finally:
        writer.close()


def fetch(run_dir: Path) -> bytes:
    """The document of the agent that runs with this directory.  FwdError if none answers."""
    path = run_dir / SOCKET_NAME
    parts = []
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(_READ_SECONDS)
            client.connect(str(path))
            while part := client.recv(1 << 16):
                parts.append(part)
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise FwdError(
            f"no agent answers at {path}: is `fwd run` running, with this --run-dir?"
        ) from error
    except PermissionError as error:
        raise FwdError(f"{path} is for root only") from error
    except TimeoutError as error:
        raise FwdError(f"the agent at {path} did not answer in {_READ_SECONDS:.0f} s") from error
    return b"".join(parts)


def decode(document: bytes) -> Status:
    """The document as a value.  FwdError if the agent speaks of other things than we know."""
    try:
        return msgspec.json.decode(document, type=Status)
    except msgspec.MsgspecError as error:
        raise FwdError(f"the agent's answer is not of this version: {error}") from error


def render(status: Status) -> str:
    """The document for people.  Counters that are zero are left out."""
    rows = [
        ("node", status.node),
        ("trouble", status.trouble or "none"),
        ("source", f"{status.source.kind}: {status.source.standing}, {status.source.detail}"),
        ("leases", f"{len(status.leases)} of {status.source.leases_of}"),
        *(_host_row(one) for one in status.host),
        ("source check", status.source_check),
    ]
    for tunnel in status.tunnels:
        rows += _tunnel_rows(tunnel, vni=status.vni, port=status.port)
    width = max(len(name) for name, _ in rows)
    lines = [f"{name:<{width}}  {value}" for name, value in rows]
    lines += [f"refused {one.node}: {one.reason}" for one in status.refused]
    lines += [
        f"drop {drop.count:>12}  {tunnel.device}  {drop.reason}: {drop.text}"
        for tunnel in status.tunnels
        for drop in tunnel.drops
    ]
    return "\n".join(lines)


def _tunnel_rows(tunnel: TunnelStatus, *, vni: int, port: int) -> list[tuple[str, str]]:
    public_ip = tunnel.public_ip if tunnel.family == IPV4 else f"[{tunnel.public_ip}]"
    reasons = {drop.reason for drop in tunnel.drops}
    return [
        ("device", f"{tunnel.device}  mtu {tunnel.mtu}  vni {vni}"),
        ("  subnet", tunnel.subnet),
        ("  vtep", f"{public_ip}:{port} on {tunnel.underlay}  {tunnel.vtep_mac}"),
        ("  state", "forwarding" if tunnel.forwarding else "down, being made anew"),
        ("  direct routes", str(tunnel.direct_routes)),
        ("  workers", str(tunnel.workers)),
        ("  offloads", " ".join(tunnel.offloads.in_force) or "none"),
        ("    fallen back", " ".join(tunnel.offloads.fallen_back) or "none"),
        ("    disabled", " ".join(tunnel.offloads.disabled) or "none"),
        ("  retired tables", str(tunnel.retired_tables)),
        *(
            (f"  {name}", str(count))
            for name, count in tunnel.counters.items()
            if count and name not in reasons
        ),
    ]


def _host_row(host: HostStatus) -> tuple[str, str]:
    text = host.state if host.trouble is None else f"{host.state}; trouble: {host.trouble}"
    if host.last_repair is not None:
        text += f"; repaired {host.repairs} times, last {host.last_repair}"
    return host.part, text
