# SPDX-License-Identifier: Apache-2.0
"""Leases from a file, for nodes without a cluster: labs, tests, machines configured by hand.

    {"leases": [{"node": "n1", "subnet": "10.244.1.0/24", "public-ip": "192.168.50.1",
                 "backend-data": {"VNI": 1, "VtepMAC": "02:00:00:00:00:01"}}, ...]}

A node has an entry a family.  Only this node's own may leave out backend-data.  The file is polled,
not watched by inotify: two stats a second cost nothing, and work for mounted ConfigMaps (whose file
is a symlink that is swapped), editors that rename and network file systems alike.
"""

import asyncio
import errno
import stat
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Self, TypeVar

import msgspec

from fwd.core import backenddata
from fwd.core.text import parse_address, parse_network
from fwd.core.unreadable import UNREADABLE
from fwd.model import ConfigError, Lease, OwnLease, Snapshot, SourceState, Trouble

S = TypeVar("S")
T = TypeVar("T")

POLL_SECONDS = 0.5

_MAX_BYTES = 64 << 20
"""65,536 entries have 10 MiB."""

_RACY_NS = 100_000_000
"""A file written twice within one tick of the kernel's clock (at most 10 ms) can keep its
signature, so a signature is believed only when it is older than this."""


class _Entry(msgspec.Struct, frozen=True, rename="kebab", forbid_unknown_fields=True):
    node: str
    subnet: str
    public_ip: str
    backend_data: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)
    """Empty: not written."""
    backend_type: str = "vxlan"


class _File(msgspec.Struct, frozen=True):
    leases: list[msgspec.Raw]


_file_decoder = msgspec.json.Decoder(_File)
_entry_decoder = msgspec.json.Decoder(_Entry)


def parse(data: bytes, *, node: str, vni: int) -> Snapshot:
    """The leases that a file's content states, `node`'s own ones set apart.

    An entry without VNI gets `vni`.  Raises ConfigError naming the entry and the field at fault.
    """
    try:
        raw = _file_decoder.decode(data)
    except UNREADABLE as error:
        raise ConfigError(str(error)) from error
    leases: list[Lease] = []
    own: dict[int, OwnLease] = {}
    for number, text in enumerate(raw.leases, 1):
        lease = _parse_entry(text, number=number, node=node, vni=vni)
        if isinstance(lease, Lease):
            leases.append(lease)
        elif lease.family in own:
            raise ConfigError(
                f"entry {number} (node {node}): a second IPv{lease.family} entry of this node"
            )
        else:
            own[lease.family] = lease
    if not own:
        raise ConfigError(f"node {node} has no entry, and without one it has no subnet")
    return Snapshot(own=tuple(own.values()), leases=tuple(leases))


def _parse_entry(text: msgspec.Raw, *, number: int, node: str, vni: int) -> Lease | OwnLease:
    where = f"entry {number}"
    try:
        entry = _entry_decoder.decode(text)
    except UNREADABLE as error:
        raise ConfigError(f"{where}: {error}") from error
    where = f"entry {number} (node {entry.node})"
    if not entry.node:
        raise ConfigError(f"entry {number}: node: is empty")
    if entry.backend_type != "vxlan":
        raise ConfigError(f"{where}: backend-type: {entry.backend_type!r} is not 'vxlan'")
    subnet = _field(where, "subnet", parse_network, entry.subnet)
    public_ip = _field(where, "public-ip", parse_address, entry.public_ip)
    data = None
    if bytes(entry.backend_data):
        data = _field(where, "backend-data", backenddata.decode, entry.backend_data)
    if entry.node == node:
        if data is not None and data.vni not in (None, vni):
            raise ConfigError(f"{where}: backend-data: VNI {data.vni}, net-conf.json says {vni}")
        mac = None if data is None else data.vtep_mac
        return OwnLease(node=node, subnet=subnet, public_ip=public_ip, vtep_mac=mac)
    if data is None:
        raise ConfigError(f"{where}: backend-data: is missing; only this node can do without")
    return Lease(
        node=entry.node,
        subnet=subnet,
        public_ip=public_ip,
        vtep_mac=data.vtep_mac,
        vni=vni if data.vni is None else data.vni,
    )


def _field(where: str, name: str, parse: Callable[[S], T], text: S) -> T:
    try:
        return parse(text)
    except ValueError as error:
        raise ConfigError(f"{where}: {name}: {error}") from error


class StaticSource:
    """A `LeaseSource` that is a file; nobody is told of this node's own leases."""

    all_or_nothing = True

    def __init__(self, path: Path, *, node: str, vni: int) -> None:
        self._path = path
        self._node = node
        self._vni = vni
        self._signature: tuple[int, ...] | None = None
        self._seen: bytes | str | None = None
        """Content at the last look, or why there was none."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing is open between two looks."""

    async def first(self) -> Snapshot:
        """The leases in the file; ConfigError if it cannot be read or used."""
        said = self._look()
        if isinstance(said, Trouble):
            raise ConfigError(said.text)
        assert said is not None
        return said

    async def changes(self) -> AsyncIterator[Snapshot | Trouble]:
        """A Snapshot after each change of the file's content, a Trouble after one that broke it."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            said = self._look()
            if said is not None:
                yield said

    def announce(self, leases: tuple[Lease, ...]) -> None:
        """Peers have their own file."""

    def reconnect(self) -> None:
        """A file is not connected to."""

    def ready(self) -> None:
        """Peers have their own file."""

    def state(self) -> SourceState:
        """Which file."""
        return SourceState(kind="static", standing="polling", detail=str(self._path))

    def _look(self) -> Snapshot | Trouble | None:
        """What the file says, or None if it says what it said at the last look."""
        seen: bytes | str
        try:
            signature = _signature(self._path)
            if signature == self._signature:
                return None
            self._signature = signature if _settled(signature) else None
            seen = _read(self._path)
        except OSError as error:
            self._signature = None
            seen = error.strerror or str(error)
        if seen == self._seen:
            return None
        self._seen = seen
        if isinstance(seen, str):
            return Trouble(f"{self._path}: {seen}")
        try:
            return parse(seen, node=self._node, vni=self._vni)
        except ConfigError as error:
            return Trouble(f"{self._path}: {error}")


def _read(path: Path) -> bytes:
    """The content of a regular file: a pipe would hold up the agent until somebody writes."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "is not a regular file")
    if status.st_size > _MAX_BYTES:
        raise OSError(errno.EFBIG, f"has more than {_MAX_BYTES >> 20} MiB")
    return path.read_bytes()


def _signature(path: Path) -> tuple[int, ...]:
    """mtime (ns) first; equal signatures mean an unchanged file if they are settled."""
    status = path.stat()
    return (status.st_mtime_ns, status.st_ino, status.st_size, status.st_dev)


def _settled(signature: tuple[int, ...]) -> bool:
    return abs(time.time_ns() - signature[0]) > _RACY_NS
