# SPDX-License-Identifier: Apache-2.0
"""A tunnel and what is kept of it for a start after a crash; no device is opened."""

import os
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from fwd.core import handovertalk as talk
from fwd.model import Plan
from fwd.node import netlink
from fwd.node.handover import keeping as keeping_module
from fwd.node.handover.keeping import StoreKeeping
from fwd.node.handover.legacy import NoLegacy, Succession
from fwd.node.handover.store import Store
from fwd.node.tunnel import Tunnel
from fwd.supervisor.words import TABLE

DEVICE = "flannel.1"


class Legacy(NoLegacy):
    """Has a plane for who asks."""

    def __init__(self) -> None:
        self.closed = 0
        self.plane: Any = SimpleNamespace(
            settings=SimpleNamespace(device=DEVICE),
            descriptors=SimpleNamespace(tap=(), all=()),
            commit=lambda _: None,
            set_mtu=lambda _: None,
            close=self._close,
        )

    def _close(self) -> None:
        self.closed += 1

    def take(self, settings: Any) -> Any:  # noqa: ANN401, ARG002
        return self.plane

    def start(self, plane: Any) -> Mapping[str, int]:  # noqa: ANN401, ARG002
        return {}


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of what was kept, in that order."""
    names = list[str]()
    monkeypatch.setattr(Store, "is_there", True)
    monkeypatch.setattr(Store, "put", lambda _self, name, *_: names.append(name))
    monkeypatch.setattr(keeping_module, "describe", lambda _: None)
    monkeypatch.setattr(talk, "encode", lambda _: b"")
    monkeypatch.setattr(netlink, "apply", lambda _: 1)
    return names


def tunnel(legacy: Legacy) -> Tunnel:
    place: Any = SimpleNamespace(device=DEVICE, mtu=1450)
    return Tunnel(place, place, Succession(legacy=legacy, keeping=StoreKeeping(Store())))


async def test_what_was_counted_before_is_known_apart(
    kept: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    legacy = Legacy()
    legacy.plane.counters = lambda: {"in_ecn": 2}
    monkeypatch.setattr(legacy, "start", lambda _: {"in_ecn": 5})
    made = tunnel(legacy)
    assert not made.inherited
    await made.open()
    assert (made.inherited, made.counters()) == ({"in_ecn": 5}, {"in_ecn": 7})
    assert kept


async def test_the_table_is_kept_first(kept: list[str]) -> None:
    """Who dies in between leaves nothing that keeps the device from the next start."""
    made = tunnel(Legacy())
    await made.open()
    assert kept == [DEVICE + TABLE, DEVICE]
    made.commit(Plan())
    assert kept[2:] == [DEVICE + TABLE], "the descriptors are the same"
    await made.resize(made.layout, made.settings)
    assert kept[3:] == [DEVICE + TABLE, DEVICE], "another MTU"
    assert not made.behind


async def test_a_table_that_cannot_be_kept_is_kept_later(
    kept: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It forwards, and is not said to be down."""

    def memfd_create(*_: object) -> int:
        raise OSError(24, "Too many open files")

    legacy = Legacy()
    made = tunnel(legacy)
    with monkeypatch.context() as without:
        without.setattr(os, "memfd_create", memfd_create)
        await made.open()
        assert (made.plane, made.behind, legacy.closed) == (legacy.plane, True, 0)
        with pytest.raises(OSError, match="Too many"):
            made.recommit()
        assert made.behind
    assert kept == []
    made.recommit()
    assert kept == [DEVICE + TABLE, DEVICE]
    assert not made.behind
