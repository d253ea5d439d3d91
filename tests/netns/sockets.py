# SPDX-License-Identifier: Apache-2.0
"""Sockets of this process in other network namespaces.

A socket stays in the namespace in which it was made, and setns(2) is a thread's.  So a thread
enters, makes the socket and ends; nothing has to be run inside, and a test holds both ends.
"""

import ctypes
import errno
import fcntl
import os
import socket
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from fwd.lab import netns
from tests.netns.namespace import wait_for

# linux/udp.h; Python has no names for them.
SOL_UDP: Final = 17
UDP_NO_CHECK6_TX: Final = 101
UDP_SEGMENT: Final = 103
UDP_GRO: Final = 104
SO_RCVBUFFORCE: Final = 33
SO_MEMINFO: Final = 55
KERNELS: Final = 2
"""Of a buffer that was asked for there is as much again for the kernel's own (socket(7))."""

# linux/ethtool.h
SET_TX_CHECKSUM: Final = 0x17
SET_TSO: Final = 0x1F
_SIOCETHTOOL: Final = 0x8946

LIMIT: Final = 15.0  # seconds that any one socket call may take
_BUFFER: Final = 16 << 20

_CLONE_NEWNET: Final = 0x40000000
_PIDFD_GETFD: Final = 438  # of all architectures
_libc = ctypes.CDLL(None, use_errno=True)

T = TypeVar("T")


def call_in(namespace: str, what: Callable[[], T]) -> T:
    """Runs what() in a thread that is in the namespace."""

    def run() -> T:
        fd = os.open(netns.path(namespace), os.O_RDONLY)
        try:
            if _libc.setns(fd, _CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), f"cannot enter {namespace}")
        finally:
            os.close(fd)
        return what()

    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(run).result()


def open_in(namespace: str, family: int, kind: int, protocol: int = 0) -> socket.socket:
    """A socket in the namespace, with a time limit and a receive buffer that holds a whole test."""
    sock = call_in(namespace, lambda: socket.socket(family, kind, protocol))
    sock.settimeout(LIMIT)
    if kind != socket.SOCK_STREAM:
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, _BUFFER)
    return sock


def af_of(address: str) -> int:
    """The socket family of an address."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def any_like(address: str) -> str:
    """The unspecified address of the same family."""
    return "::" if ":" in address else "0.0.0.0"


class IpOptions(NamedTuple):
    """Socket options that differ between the families by their numbers only."""

    level: int
    tos: int
    ttl: int
    receive_tos: int
    receive_ttl: int
    receive_errors: int


# linux/in.h and linux/in6.h; Python has no names for some.
IP_OPTIONS: Final = {4: IpOptions(0, 1, 2, 13, 12, 11), 6: IpOptions(41, 67, 16, 66, 51, 25)}


def udp_in(namespace: str, address: str, port: int = 0) -> socket.socket:
    """A bound UDP socket in the namespace."""
    sock = open_in(namespace, af_of(address), socket.SOCK_DGRAM)
    sock.bind((address, port))
    return sock


class Memory(NamedTuple):
    """Of a socket, in bytes; and datagrams that it did not take."""

    waiting: int
    receive_buffer: int
    send_buffer: int
    drops: int


def memory(sock: socket.socket) -> Memory:
    """linux/sock_diag.h has the numbers."""
    found = struct.unpack("=9I", sock.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, 36))
    return Memory(found[0], found[1], found[3], found[8])


def is_deaf(sock: socket.socket, stranger: socket.socket) -> bool:
    """Whether what is sent to it does not pile up."""
    before = memory(sock).drops
    stranger.sendto(b"anything", sock.getsockname())
    wait_for("an end", lambda: memory(sock).waiting > 0 or memory(sock).drops > before, LIMIT)
    return memory(sock).waiting == 0


def udp_sockets(pid: int, family: int) -> Iterator[socket.socket]:
    """Another process's own, to look at; what it opens for a moment may be among them or not."""
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError, NotOpenError):
            if not str(path.readlink()).startswith("socket:"):
                continue
            sock = socket.socket(fileno=_fetch(pid, int(path.name)))
            if (sock.family, sock.type) == (family, socket.SOCK_DGRAM):
                yield sock
            else:
                sock.close()


class NotOpenError(Exception):
    """It is not any more."""


def _fetch(pid: int, number: int) -> int:
    process = os.pidfd_open(pid)
    try:
        fd = int(_libc.syscall(_PIDFD_GETFD, process, number, 0))
    finally:
        os.close(process)
    if fd < 0:
        if ctypes.get_errno() == errno.EBADF:
            raise NotOpenError
        raise OSError(ctypes.get_errno(), f"cannot have descriptor {number} of process {pid}")
    return fd


def ethtool(namespace: str, device: str, command: int, *, value: int) -> None:
    """Sets a device's feature, as ethtool(8) does; the program need not be installed."""
    request = ctypes.create_string_buffer(struct.pack("=II", command, value))
    name = device.encode()
    ifreq = struct.pack("16sP16x", name, ctypes.addressof(request))
    with open_in(namespace, socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, _SIOCETHTOOL, ifreq)
