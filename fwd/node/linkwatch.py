# SPDX-License-Identifier: Apache-2.0
"""Being told that links, addresses, routes or rules changed; to look what is `node.netlink`'s."""

import asyncio
import socket

# RTMGRP_LINK, then IFADDR, ROUTE and RULE of IPv4 and of IPv6 (linux/rtnetlink.h).
_GROUPS = 0x1 | 0x10 | 0x40 | 0x80 | 0x100 | 0x400 | 0x40000
_SOL_NETLINK, _NO_ENOBUFS = 270, 5  # linux/netlink.h
_MESSAGE_BYTES = 65536
_SETTLE_SECONDS = 0.03


class LinkWatch:
    """Tells that some link, address, route or rule of this network namespace came, went or changed.

    A message is a hint to look again, never news in itself: so one that finds no room is as good as
    those before it, which are not read yet, and nothing has to be decoded.
    """

    def __init__(self) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK,
            socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC,
            socket.NETLINK_ROUTE,
        )
        # An error on the socket (ENOBUFS, once it overruns) would end libuv's watching for good.
        self._socket.setsockopt(_SOL_NETLINK, _NO_ENOBUFS, 1)
        self._socket.bind((0, _GROUPS))
        self._hint = asyncio.Event()
        self._hint.set()  # whatever happened before
        asyncio.get_running_loop().add_reader(self._socket, self._read)

    async def changed(self) -> None:
        """Returns after the next hint; hints that come close together are one."""
        await self._hint.wait()
        await asyncio.sleep(_SETTLE_SECONDS)
        self._hint.clear()

    def close(self) -> None:
        """Stops watching."""
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()

    def _read(self) -> None:
        self._hint.set()
        try:
            while self._socket.recv(_MESSAGE_BYTES):
                pass
        except BlockingIOError:
            pass
