# SPDX-License-Identifier: Apache-2.0
"""What a start finds of the process before it: nothing, or planes that go on."""

from collections.abc import Mapping
from typing import Protocol

from msgspec import Struct

from fwd.model import Plan
from fwd.plane import Plane, PlaneSettings


class Legacy(Protocol):
    """Asked by each tunnel when it opens, then once told that all have."""

    @property
    def has_ended(self) -> bool:
        """Its planes forward in this process: nobody else has them, or goes on after abort()."""

    def take(self, settings: PlaneSettings) -> Plane | None:
        """A plane of this device on descriptors that are open already, not ours alone yet.

        None: there is none of use, and whoever had the device has let go of it.
        """

    def start(self, plane: Plane) -> Mapping[str, int]:
        """Makes it forward here and nowhere else; what it has counted elsewhere."""

    def done(self) -> None:
        """All tunnels are open: the process before has nothing left to do."""

    def abort(self) -> None:
        """They are not, and those that were are closed again: it goes on as it was."""


class NoLegacy:
    """A cold start."""

    has_ended = False

    def take(self, settings: PlaneSettings) -> Plane | None:  # noqa: ARG002 - the protocol's
        """There is none."""
        return None

    def start(self, plane: Plane) -> Mapping[str, int]:
        """A plane of our own."""
        plane.start()
        return {}

    def done(self) -> None:
        """Nobody waits for it."""

    def abort(self) -> None:
        """Nobody waits for it."""


class Keeping(Protocol):
    """Told of everything that a later start could use."""

    def keep(self, plane: Plane) -> None:
        """A plane is open, or is another one now."""

    def keep_table(self, device: str, plan: Plan) -> None:
        """This is in force there."""

    def drop(self, device: str) -> None:
        """It is closed."""

    def begun(self) -> None:
        """Nothing more can fail at the start: there is to be a later one, after a crash."""

    def hold(self) -> None:
        """What is closed from now on is for that start, too."""


class Succession(Struct, frozen=True):
    """The process before, and the one after."""

    legacy: Legacy
    keeping: Keeping
