# SPDX-License-Identifier: Apache-2.0
"""TCP connections, one after the other: what one costs."""

import socket
import time
from typing import Final

from fwd.bench import traffic
from fwd.lab.probes import Route

# Reset, not closed: thousands in TIME_WAIT would run out of ports.
_RESET: Final = b"\1\0\0\0\0\0\0\0"


def connections(path: Route, *, seconds: float) -> float:
    """TCP connections a second: opened, one byte there and back, reset.

    The byte is answered after the connection was accepted, so none waits while the next is opened.
    Without it a server that is kept from the processor for some milliseconds has its queue full,
    and a connection that finds it so is tried again by the kernel a second later.

    A connection costs a hundred times what Python adds to it, so this needs no C.

    Raises:
        OSError: one was not accepted or answered in time.
    """
    with traffic.echo(path) as servers:
        address = servers[socket.SOCK_STREAM].getsockname()

        def connect() -> float:
            done, begin = 0, time.monotonic()
            while (now := time.monotonic()) - begin < seconds:
                with socket.socket(traffic.family(path), socket.SOCK_STREAM) as client:
                    client.settimeout(traffic.CONNECT_LIMIT)
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                    client.connect(address)
                    client.sendall(b"?")
                    if not client.recv(1):
                        raise ConnectionResetError("a connection ended before its answer")
                    done += 1
            return done / (now - begin)

        return traffic.inside(path.source, connect)
