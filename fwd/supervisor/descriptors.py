# SPDX-License-Identifier: Apache-2.0
"""Messages with descriptors that no program which is started later inherits.

`socket.recv_fds` of Python takes flags and does not pass them on: what it receives stays open over
exec, and a socket that somebody holds unknowingly still gets its share of the packets.
"""

import array
import socket

_INT = array.array("i").itemsize


def receive_descriptors(
    sock: socket.socket, most_bytes: int, most_descriptors: int
) -> tuple[bytes, list[int], int]:
    """A message, its descriptors, and the flags of recvmsg(2).  Raises OSError."""
    data, control, flags, _ = sock.recvmsg(
        most_bytes, socket.CMSG_LEN(most_descriptors * _INT), socket.MSG_CMSG_CLOEXEC
    )
    found = array.array("i")
    for level, kind, content in control:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            found.frombytes(content[: len(content) // _INT * _INT])
    return data, list(found), flags
