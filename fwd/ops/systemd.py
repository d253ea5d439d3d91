# SPDX-License-Identifier: Apache-2.0
"""The one thing that systemd is told, where it started us: sd_notify(3).

Under a supervisor we are not the unit's main process; docs/safety.md says what its unit needs.
"""

import os
import socket

from fwd.ops import log


def notify_ready() -> None:
    """READY=1, once packets flow.  Without a NOTIFY_SOCKET nobody asks."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
            out.setblocking(False)
            out.connect(address)
            out.send(b"READY=1")
    except OSError as error:
        log.warning("systemd", error=f"cannot notify {path}: {error.strerror or error}")
