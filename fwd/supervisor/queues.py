# SPDX-License-Identifier: Apache-2.0
"""Room in the TUNs' queues while nobody reads them.

Their usual number is small, so that latency is, as long as somebody reads.
"""

import fcntl
import socket
import struct
import time
from collections.abc import Iterable

DEEP = 10_000
"""Packets in each queue of a TUN."""
USUAL = 2_000
"""As cext/tun.c opens it: for a queue that somebody has left deep."""
DRAIN_SECONDS = 1.0
"""For what has waited: a queue made shorter drops what has no room any more (tun_queue_resize)."""
_IFREQ = struct.Struct("16si20x")
_SIOCGIFTXQLEN, _SIOCSIFTXQLEN = 0x8942, 0x8943


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


class Queues:
    """Those that we have made deep."""

    def __init__(self) -> None:
        self._lengths: dict[str, int] = {}
        """As they were."""
        self.due = 0.0
        """When they are to be as long as before again; 0: never, or nobody reads them yet."""

    def deepen(self, devices: Iterable[str]) -> None:
        """Room for what comes until an agent has its devices again."""
        self.due = 0.0
        for name in devices:
            if name not in self._lengths and (length := queue_length(name, DEEP)) >= 0:
                self._lengths[name] = length if length < DEEP else USUAL

    def read_again(self, device: str) -> None:
        """Somebody does."""
        if device in self._lengths:
            self.due = time.monotonic() + DRAIN_SECONDS

    def shorten(self) -> None:
        """As long as before."""
        while self._lengths:
            queue_length(*self._lengths.popitem())
        self.due = 0.0
