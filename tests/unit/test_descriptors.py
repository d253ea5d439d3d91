# SPDX-License-Identifier: Apache-2.0
"""Descriptors in messages: all come, and no program that is started later has them."""

import os
import socket

from fwd.supervisor.descriptors import receive_descriptors


def test_what_is_received_ends_with_this_program() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        pipes = [*os.pipe(), *os.pipe()]
        for one in pipes:
            os.set_inheritable(one, True)
        socket.send_fds(theirs, [b"put x"], pipes)
        data, found, flags = receive_descriptors(ours, 100, 10)
        assert (data, len(found), flags & socket.MSG_CTRUNC) == (b"put x", 4, 0)
        assert not any(map(os.get_inheritable, found))
        for one in (*pipes, *found):
            os.close(one)


def test_more_than_were_asked_for_are_said_and_not_lost() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        pipes = os.pipe()
        socket.send_fds(theirs, [b"1234"], [*pipes, *pipes, *pipes, *pipes])
        data, found, flags = receive_descriptors(ours, 2, 2)
        assert data == b"12"
        assert flags & socket.MSG_TRUNC
        assert flags & socket.MSG_CTRUNC
        for one in (*pipes, *found):
            os.close(one)
