# SPDX-License-Identifier: Apache-2.0
"""What passes on a link, read from an AF_PACKET socket.

Offloads are those of the link: on a veth one frame may be up to 64 KiB with checksums to be done.
"""

import socket
from typing import Final, Self

from fwd.lab import underlay
from tests.netns import frames
from tests.netns.frames import Tunnelled
from tests.netns.sockets import open_in
from tests.netns.topo import Net

_ETH_P_ALL: Final = 3
_PACKET_OUTGOING: Final = 4


class Capture:
    """Frames that a node sends, from now on."""

    def __init__(self, net: Net, index: int) -> None:
        # Port at which the switch sees them come in.
        self._sock = open_in(
            net.switch, socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL)
        )
        self._sock.bind((underlay.port(net.node(index)), _ETH_P_ALL))
        self._sock.settimeout(0.2)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._sock.close()

    def frames(self) -> list[bytes]:
        """All so far; what is on the way has a moment to come."""
        got = []
        try:
            while True:
                frame, address = self._sock.recvfrom(1 << 17)
                if address[2] != _PACKET_OUTGOING:
                    got.append(frame)
        except TimeoutError:
            return got

    def tunnelled(self) -> list[Tunnelled]:
        """The VXLAN datagrams among them."""
        parsed = (frames.parse_tunnelled(frame) for frame in self.frames())
        return [one for one in parsed if one]
