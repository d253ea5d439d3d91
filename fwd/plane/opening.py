# SPDX-License-Identifier: Apache-2.0
"""Opens what a plane works with: TUN queues, sockets."""

import errno
import os
from contextlib import ExitStack

from msgspec import Struct

from fwd._plane import ffi, lib
from fwd.core.oshints import hint
from fwd.model import MAC_LEN
from fwd.plane.errors import check
from fwd.plane.settings import (
    TUN_OFFLOADS,
    Offload,
    PlaneSettings,
    packed_address,
    queues_of_each,
)

_TUN = "/dev/net/tun"


def probe() -> None:
    """Raises OSError, with what to do, where no TUN can be made at all."""
    try:
        os.close(os.open(_TUN, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        advice = hint("open", error.errno or 0, device=_TUN) or error.strerror
        raise OSError(error.errno, f"cannot open {_TUN}: {advice}") from error


class Descriptors(Struct, frozen=True):
    """All that a plane works with, open, and what the kernel granted for it.

    They may outlive the plane: another one, in this process or in the next, goes on with them.
    """

    tun: tuple[int, ...]
    """Queues, as many for each worker."""
    listen: tuple[int, ...]
    """One receiving socket a worker."""
    source: tuple[int, ...]
    tap: tuple[int, ...]
    """One for TUNNEL_GSO, or none."""
    granted: Offload

    @property
    def all(self) -> tuple[int, ...]:
        """Every one of them, in an order that does not change."""
        return self.tun + self.listen + self.source + self.tap

    def close(self) -> None:
        """Closes them."""
        for fd in self.all:
            os.close(fd)


def open_descriptors(settings: PlaneSettings) -> Descriptors:
    """Sockets, TAP and TUN.  The TUN last: what fails before must not leave a device behind."""
    with ExitStack() as undo:
        listen, gro = open_sockets(settings, undo, listening=settings.workers)
        source, segment = open_sockets(settings, undo)
        tap = open_tap(settings, undo) if segment else ()
        tun, granted = open_tun(settings, undo)
        undo.pop_all()
    workers = min(len(listen), len(tun))  # without multi-queue there are fewer than wanted
    queues = workers * (len(tun) // workers)
    for fd in listen[workers:] + tun[queues:]:
        os.close(fd)
    return Descriptors(
        tun=tuple(tun[:queues]),
        listen=tuple(listen[:workers]),
        source=tuple(source),
        tap=tap,
        granted=granted | gro | segment | (Offload.TUNNEL_GSO if tap else Offload(0)),
    )


def try_out(settings: PlaneSettings) -> Offload:
    """What the kernel grants of the offloads; all that is opened for that is closed again.

    The device stays, as a plane's does.  Raises OSError.
    """
    with ExitStack() as undo:
        _, gro = open_sockets(settings, undo, listening=1)
        _, segment = open_sockets(settings, undo)
        _, granted = open_tun(settings, undo)
        if open_tap(settings, undo):
            granted |= Offload.TUNNEL_GSO
    return granted | gro | segment


def open_tun(settings: PlaneSettings, undo: ExitStack) -> tuple[list[int], Offload]:
    """All queues; a single one where the kernel (or an option) has no multi-queue."""
    wanted = settings.workers * queues_of_each(settings.workers)
    fds = ffi.new("int[]", wanted)
    granted = ffi.new("uint32_t *")
    count = lib.vx_tun_open(
        settings.device.encode(),
        settings.offloads & TUN_OFFLOADS,
        wanted,
        fds,
        granted,
    )
    check(count, f"open TUN device {settings.device}", device=settings.device)
    queues = [int(fd) for fd in fds[0:count]]
    for fd in queues:
        undo.callback(os.close, fd)
    return queues, Offload(granted[0])


def open_tap(settings: PlaneSettings, undo: ExitStack) -> tuple[int, ...]:
    """The TAP, if it is wanted and the kernel has what it is for; it is not up yet.

    What is forwarded cannot have link-local addresses.
    """
    if Offload.TUNNEL_GSO not in settings.offloads or settings.scope:
        return ()
    fd = lib.vx_tap_open(settings.tap.encode())
    if fd == -errno.EOPNOTSUPP:
        return ()
    check(fd, f"open TAP device {settings.tap}", device=settings.tap)
    undo.callback(os.close, fd)
    return (int(fd),)


def device_of(fd: int) -> tuple[str, int]:
    """A queue's device, and its IFF_TUN, IFF_TAP, ... (linux/if_tun.h).

    Raises OSError if it is no queue, or that of a device that was deleted.
    """
    name = ffi.new("char[16]")
    flags = lib.vx_queue_device(fd, name)
    if flags < 0:
        raise OSError(-flags, os.strerror(-flags))
    return os.fsdecode(ffi.string(name)), flags


def tap_mac() -> bytes:
    """The MAC that the TAP must have."""
    return bytes(ffi.buffer(lib.vx_tap_mac(), MAC_LEN))


def open_sockets(
    settings: PlaneSettings, undo: ExitStack, *, listening: int = 0
) -> tuple[list[int], Offload]:
    """As many receiving sockets as asked for, or else the sending ones; what all of them grant."""
    local, granted = packed_address(settings.local), ffi.new("uint32_t *")
    family, scope = settings.family, settings.scope
    offloads = settings.offloads & (Offload.UDP_GRO if listening else Offload.UDP_SEGMENT)
    in_force = offloads
    fds: list[int] = []
    for _ in range(listening or settings.sources):
        if listening:
            fd = lib.vx_udp_listen(
                family, local, scope, settings.port, len(fds), listening, offloads, granted
            )
            check(
                fd, f"receive on {settings.local} UDP port {settings.port}", device=settings.device
            )
        else:
            fd = lib.vx_udp_source(family, local, scope, offloads, granted)
            check(fd, f"send from {settings.local}", device=settings.device)
        undo.callback(os.close, fd)
        fds.append(fd)
        in_force &= Offload(granted[0])
    return fds, in_force
