# SPDX-License-Identifier: Apache-2.0
"""What of a tunnel goes to the supervisor, and the tunnels that come back from it after a crash.

Two entries a device: its kit (what a hand-over would give), and its table, as bytes that a plane
takes without knowing leases.  With them a new process forwards before it has read its
configuration, and before most of this program is even loaded.
"""

import os
from collections.abc import Mapping

from fwd.core import handovertalk as talk
from fwd.model import Plan
from fwd.node.handover.kits import describe, settings_of, sort_out
from fwd.node.handover.store import Entry, Store
from fwd.ops import log
from fwd.plane import Plane, PlaneSettings, pack_table
from fwd.supervisor.words import LOCK, TABLE


class StoreKeeping:
    """Keeps what the tunnels are, as long as somebody keeps it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._holds = False

    def keep(self, plane: Plane) -> None:
        """A plane has been opened, or is another one now."""
        if self._store.is_there:
            kit = talk.encode(describe(plane))
            self._store.put(plane.settings.device, kit, plane.descriptors.all)

    def keep_table(self, device: str, plan: Plan) -> None:
        """This is in force there."""
        if not self._store.is_there:
            return
        fd = os.memfd_create("table", os.MFD_CLOEXEC)
        try:
            with os.fdopen(os.dup(fd), "wb") as out:
                out.write(pack_table(plan))
            self._store.put(device + TABLE, b"", [fd])
        finally:
            os.close(fd)

    def drop(self, device: str) -> None:
        """It is closed here and must be nowhere else, unless hold() was called."""
        if self._holds:
            return
        self._store.drop(device)
        self._store.drop(device + TABLE)

    def begun(self) -> None:
        """See Keeping."""
        self._store.begun()

    def hold(self) -> None:
        """What is closed here from now on is for the next start to forward by."""
        self._holds = True

    def drop_all(self, entries: Mapping[str, Entry]) -> None:
        """None of them is of use any more."""
        for name, entry in entries.items():
            entry.close()
            self._store.drop(name)


class Revived:
    """A Legacy: planes that forward already, by what the crashed process had given."""

    has_ended = True

    def __init__(self, planes: Mapping[str, Plane], keeping: StoreKeeping) -> None:
        self._planes = dict(planes)
        self._keeping = keeping
        self._taken: set[str] = set()

    @property
    def devices(self) -> tuple[str, ...]:
        """Those that forward."""
        return tuple(self._planes)

    @property
    def planes(self) -> tuple[Plane, ...]:
        """Those that nobody has taken yet."""
        return tuple(self._planes.values())

    def take(self, settings: PlaneSettings) -> Plane | None:
        """See Legacy."""
        plane = self._planes.pop(settings.device, None)
        if plane is None:
            return None
        try:
            if plane.settings.mtu != settings.mtu:
                plane.set_mtu(settings.mtu)
        except OSError:
            self._close(plane)
            return None
        if plane.settings != settings:
            log.info("not-taken-over", device=settings.device, reason="other settings")
            self._close(plane)
            return None
        self._taken.add(settings.device)
        return plane

    def start(self, plane: Plane) -> Mapping[str, int]:
        """See Legacy."""
        if plane.settings.device not in self._taken:
            plane.start()
        self._taken.discard(plane.settings.device)
        return {}

    def done(self) -> None:
        """See Legacy."""
        self.abort()

    def abort(self) -> None:
        """See Legacy."""
        while self._planes:
            self._close(self._planes.popitem()[1])

    def _close(self, plane: Plane) -> None:
        plane.close()
        self._keeping.drop(plane.settings.device)


def revive(entries: Mapping[str, Entry], keeping: StoreKeeping) -> Revived:
    """Planes of all that was kept and is of use; nothing here is worth not to start.

    What is of no use is dropped: a copy of a device's queues keeps it from whoever opens it anew.
    """
    planes: dict[str, Plane] = {}
    for name, entry in entries.items():
        if name == LOCK or name.endswith(TABLE):
            continue
        try:
            planes[name] = _revive(entry, entries.get(name + TABLE))
        except (OSError, ValueError, OverflowError) as error:
            log.warning("not-revived", device=name, error=error)
            keeping.drop(name)
    for entry in entries.values():
        entry.close()
    return Revived(planes, keeping)


def _revive(kit: Entry, table: Entry | None) -> Plane:
    if table is None:
        raise ValueError("no table was kept with it")
    message = talk.decode(kit.data)
    if not isinstance(message, talk.Kit) or len(table.descriptors) != 1:
        raise ValueError("what was kept is no tunnel")
    settings = settings_of(message)
    descriptors = sort_out(message, kit.descriptors)
    kit.descriptors = []
    plane = Plane.on(settings, descriptors)
    try:
        os.lseek(table.descriptors[0], 0, os.SEEK_SET)
        with os.fdopen(os.dup(table.descriptors[0]), "rb") as content:
            plane.commit_packed(content.read())
        plane.start()
    except BaseException:
        plane.close()
        raise
    return plane
