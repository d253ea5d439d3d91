# SPDX-License-Identifier: Apache-2.0
"""``python -m fwd.lab.kerneletcd``: flanneld on a node with the kernel's vxlan device, with etcd.

As ``kernelagent``, but by keys of an etcd (flannel spec 4): it writes this node's lease, for a day
and again an hour before that is over, and programs everybody else's.  It reads and writes flannel's
texts by code of its own.
"""

import argparse
import re
import sys
import threading
import time
from collections.abc import Iterable
from ipaddress import ip_address, ip_network
from typing import Final

import msgspec
from msgspec import Struct

from fwd.lab.etcdclient import SUBNETS, Change, Etcd
from fwd.lab.kernelnode import Peer
from fwd.lab.kernelpeers import KernelPeers, LostError, say

_RETRY: Final = 0.2  # seconds
_DAY: Final = 24 * 3600
_MARGIN: Final = 3600  # of it, for the renewal
_KEY: Final = re.compile(r"([\d.]+)-(\d+)(?:&([a-f\d:]+)-(\d+))?")


class _Data(Struct):
    vtep_mac: str = msgspec.field(name="VtepMAC")


class _Value(Struct):
    public_ip: str = msgspec.field(name="PublicIP")
    public_ipv6: str | None = msgspec.field(name="PublicIPv6", default=None)
    kind: str = msgspec.field(name="BackendType", default="")
    data: _Data | None = msgspec.field(name="BackendData", default=None)
    data6: _Data | None = msgspec.field(name="BackendV6Data", default=None)


def peers_of(name: str, value: str) -> tuple[Peer, ...]:
    """The peers that a key and its value are, one a family; none for a reservation."""
    match, found = _KEY.fullmatch(name), msgspec.json.decode(value, type=_Value)
    if match is None or found.kind != "vxlan":
        return ()
    rows = (
        (match[1], match[2], found.public_ip, found.data),
        (match[3], match[4], found.public_ipv6, found.data6),
    )
    return tuple(
        Peer(ip_network(f"{subnet}/{length}"), ip_address(address), data.vtep_mac)
        for subnet, length, address, data in rows
        if subnet and subnet != "0.0.0.0" and address and data  # noqa: S104 - no subnet
    )


class OwnKey:
    """This node's key; ``keep`` is for a thread, as a watch can be silent for a day."""

    def __init__(self, etcd: Etcd, name: str, value: str) -> None:
        self._etcd = etcd
        self.name = name
        self._value = value
        self._is_missed = threading.Event()

    def put(self) -> None:
        """Write it with a new lease, also over an old one, which then ends with no key (4.2)."""
        self._etcd.put(SUBNETS + self.name, self._value, lease=self._etcd.grant(_DAY))

    def miss(self) -> None:
        """It is gone: put it back.  flannel ends here, to be started again; nobody would do it."""
        self._is_missed.set()

    def keep(self) -> None:
        """Write it again and again, for ever."""
        pause: float = _DAY - _MARGIN
        while True:
            self._is_missed.wait(pause)
            self._is_missed.clear()  # before it is put: it may be deleted at once
            try:
                self.put()
                pause = _DAY - _MARGIN
            except LostError as error:
                say(f"renewal: {error}")
                pause = _RETRY


def take(peers: KernelPeers, changes: Iterable[Change], *, own: OwnKey) -> None:
    """Program what these keys say now."""
    came: dict[str, tuple[Peer, ...]] = {}
    for change in changes:
        name = change.key.removeprefix(SUBNETS)
        if name == own.name:
            if change.value is None:
                own.miss()
            continue
        if change.value is None:
            peers.remove(name)
            continue
        try:
            came[name] = peers_of(name, change.value)
        except (msgspec.MsgspecError, ValueError) as error:
            say(f"lease {name}: {error}")
    peers.add(came)


def main(argv: list[str]) -> None:
    """Run it for ever."""
    parser = argparse.ArgumentParser(prog="python -m fwd.lab.kerneletcd", allow_abbrev=False)
    for name in ("url", "node", "namespace", "key", "value"):
        parser.add_argument(f"--{name}", required=True)
    given = parser.parse_args(argv)
    etcd, peers = Etcd(given.url), KernelPeers(given.namespace)
    own = OwnKey(etcd, given.key, given.value)
    is_published = is_told = False
    while True:
        try:
            if not is_published:
                own.put()
                threading.Thread(target=own.keep, daemon=True).start()
                is_published = True
            there, revision = etcd.list(SUBNETS)
            if SUBNETS + own.name not in there:
                own.miss()
            for gone in peers.names - {key.removeprefix(SUBNETS) for key in there}:
                peers.remove(gone)
            take(peers, (Change(key, value) for key, value in there.items()), own=own)
            if not is_told:
                say(f"programs node={given.node}")
            is_told = True
            for change in etcd.watch(SUBNETS, after=revision):
                take(peers, [change], own=own)
        except LostError as error:
            say(str(error))
            time.sleep(_RETRY)


if __name__ == "__main__":
    main(sys.argv[1:])
