# SPDX-License-Identifier: Apache-2.0
"""The last leases in force, saved: what a start forwards by before it has talked to anyone.

The file is a line that says what it is, a checksum, and msgpack.  It is for this program on this
node only; one that is anything else (half written, of another version, another node, another
network) is said, and never a reason not to start.  It is renamed when there are leases to be saved
in its place: until then it may be that of an agent which runs, and which this one, set up
otherwise, has yet to take over from.  It may be old: the first list of the source corrects it by
value.
"""

import zlib
from collections.abc import Mapping
from contextlib import suppress
from ipaddress import ip_address, ip_network
from pathlib import Path
from threading import Lock

import msgspec
from msgspec import Struct

from fwd.core.unreadable import UNREADABLE
from fwd.model import Address, Lease, Network, OwnLease, Snapshot
from fwd.node.subnetfile import write_whole
from fwd.ops import log

FILE_NAME = "leases.saved"
SET_ASIDE = ".set-aside"
NET_CONF_NAME = "net-conf.saved"
"""The network's configuration, where that is not a file of this node's (`sources.etcdconf`)."""
_HEADER = b"fwd leases 2\n"
"""Another layout takes another number."""
_CHECK_BYTES = 4


class Fault(Struct, frozen=True):
    """Why the file is of no use."""

    text: str
    of_others: bool = False
    """It is whole, but of another node, network or VNI."""


class _OthersError(ValueError):
    """The file is whole, but not for us."""


class _Lease(Struct, frozen=True, array_like=True):
    node: str
    address: bytes
    length: int
    public_ip: bytes
    vtep_mac: bytes


class _Own(Struct, frozen=True, array_like=True):
    subnet: str
    public_ip: str | None
    underlay_ip: str | None


class _State(Struct, frozen=True, array_like=True):
    node: str
    networks: tuple[str, ...]
    vni: int
    own: tuple[_Own, ...]
    leases: tuple[_Lease, ...]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_State)


class SavedState:
    """The file, for one cluster network.

    This node's MACs are not in it: `rundir` remembers them, and the device or the Node may know
    better.
    """

    def __init__(
        self, run_dir: Path, *, node: str, networks: Mapping[int, Network], vni: int
    ) -> None:
        """`node` may be empty where it is not known yet: then it is whose the file is."""
        self._path = run_dir / FILE_NAME
        self._node = node
        self._networks = tuple(str(networks[family]) for family in sorted(networks))
        self._vni = vni
        self._written: bytes | None = None
        self._mark: tuple[int, int] | None = None
        """Of the file that says so."""
        self._useless = ""
        """Why the file that is there is."""
        self._lock = Lock()

    def load(self) -> Snapshot | None:
        """The saved leases, if there are any of use."""
        mark = self._look()
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            log.warning("saved-state", error=f"cannot read {self._path}: {error.strerror}")
            return None
        try:
            snapshot = self._parse(content)
        except ValueError as error:
            self._useless = str(error)
            log.warning("saved-state-unused", error=self._useless)
            return None
        self._written, self._mark = content, mark
        return snapshot

    def fault(self) -> Fault | None:
        """What is the matter with the file, which is left as it is; None: nothing, or no file."""
        try:
            self._parse(self._path.read_bytes())
        except FileNotFoundError:
            return None
        except OSError as error:
            return Fault(f"cannot be read: {error.strerror}")
        except _OthersError as error:
            return Fault(str(error), of_others=True)
        except ValueError as error:
            return Fault(str(error))
        return None

    def save(self, own: tuple[OwnLease, ...], leases: tuple[Lease, ...]) -> None:
        """Replaces the file, unless it is still one that says the same.  Raises OSError.

        Of two threads the one that comes second waits, and its word is the last.
        """
        state = _State(
            node=own[0].node,
            networks=self._networks,
            vni=self._vni,
            own=tuple(map(_pack_own, own)),
            leases=tuple(map(_pack, leases)),
        )
        body = _encoder.encode(state)
        content = _HEADER + zlib.crc32(body).to_bytes(_CHECK_BYTES) + body
        with self._lock:
            if content != self._written or self._mark != self._look():
                if self._useless:
                    self._set_aside()
                write_whole(self._path, content, mode=0o600)
                self._written, self._mark = content, self._look()

    def _look(self) -> tuple[int, int] | None:
        """By which the file is told from another one that is there by now."""
        with suppress(FileNotFoundError):
            found = self._path.stat()
            return found.st_ino, found.st_mtime_ns
        return None

    def _parse(self, content: bytes) -> Snapshot:
        """Raises ValueError that says what is the matter with the file."""
        if not content.startswith(_HEADER):
            raise ValueError("it is not a file of this version")
        check, body = content[len(_HEADER) :][:_CHECK_BYTES], content[len(_HEADER) + _CHECK_BYTES :]
        if zlib.crc32(body).to_bytes(_CHECK_BYTES) != check:
            raise ValueError("it is damaged")
        try:
            state = _decoder.decode(body)
        except UNREADABLE as error:
            raise ValueError(f"it is damaged: {error}") from error
        if self._node and state.node != self._node:
            raise _OthersError(f"it is of node {state.node}, and this is {self._node}")
        if state.networks != self._networks:
            networks = ", ".join(state.networks)
            raise _OthersError(f"it is of network {networks}, this is {', '.join(self._networks)}")
        if state.vni != self._vni:
            raise _OthersError(f"it is of VNI {state.vni}, and this is {self._vni}")
        if not state.own:
            raise ValueError("it has no lease of this node")
        own = tuple(_unpack_own(one, state.node) for one in state.own)
        return Snapshot(own=own, leases=tuple(_unpack(one, self._vni) for one in state.leases))

    def _set_aside(self) -> None:
        aside, reason = self._path.with_name(self._path.name + SET_ASIDE), self._useless
        with suppress(OSError):
            self._path.rename(aside)
            self._useless = ""
            log.warning(
                "saved-state-set-aside", file=self._path, renamed_to=aside.name, reason=reason
            )


def _pack_own(own: OwnLease) -> _Own:
    return _Own(
        subnet=str(own.subnet),
        public_ip=None if own.public_ip is None else str(own.public_ip),
        underlay_ip=None if own.underlay_ip is None else str(own.underlay_ip),
    )


def _unpack_own(packed: _Own, node: str) -> OwnLease:
    return OwnLease(
        node=node,
        subnet=ip_network(packed.subnet),
        public_ip=_address(packed.public_ip),
        underlay_ip=_address(packed.underlay_ip),
    )


def _pack(lease: Lease) -> _Lease:
    return _Lease(
        node=lease.node,
        address=lease.subnet.network_address.packed,
        length=lease.subnet.prefixlen,
        public_ip=lease.public_ip.packed,
        vtep_mac=lease.vtep_mac,
    )


def _unpack(packed: _Lease, vni: int) -> Lease:
    return Lease(
        node=packed.node,
        subnet=ip_network((packed.address, packed.length)),
        public_ip=ip_address(packed.public_ip),
        vtep_mac=packed.vtep_mac,
        vni=vni,
    )


def _address(text: str | None) -> Address | None:
    return None if text is None else ip_address(text)
