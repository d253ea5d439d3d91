# SPDX-License-Identifier: Apache-2.0
"""What to do when the kernel refuses the plane something: the half of an error that helps."""

import errno


def hint(verb: str, code: int, *, device: str) -> str:
    """Advice for what failed (open, receive, send, start) with errno `code`; empty: none known."""
    return _HINTS.get((verb, code), "").format(device=device)


_TAKEN = (
    "the port is taken, by another program (`ss -lunp`) or by a kernel vxlan device that is up "
    "(`ip -d link show type vxlan`)"
)
_OTHER_KIND = (
    "a device of that name exists and is another kind: see `ip -d link show {device}`, remove it "
    "with `ip link del {device}`"
)
_CONTAINER = "needs CAP_NET_ADMIN, and in a container a device rule for /dev/net/tun"
_HINTS = {
    (
        "open",
        errno.ENOENT,
    ): "there is no /dev/net/tun: load the kernel's tun module (modprobe tun), or "
    "give the container that device",
    ("open", errno.ENODEV): "this kernel has no TUN driver: load it with modprobe tun",
    ("open", errno.EPERM): f"not permitted: it {_CONTAINER}",
    ("open", errno.EACCES): "not permitted: it needs read and write access to /dev/net/tun",
    ("open", errno.EBUSY): "another process has it: is another agent running on this node?",
    ("open", errno.EINVAL): _OTHER_KIND,
    ("receive", errno.EADDRINUSE): _TAKEN,
    ("receive", errno.EADDRNOTAVAIL): "that is no address of this node",
    ("send", errno.EADDRNOTAVAIL): "that is no address of this node",
    ("send", errno.EADDRINUSE): "no port from 49152 to 65535 is free",
    ("keep", errno.EINVAL): "it is not one of those that this process may use (`taskset -p`)",
    ("start", errno.EAGAIN): "too many threads: raise the process limit or lower --workers",
}
