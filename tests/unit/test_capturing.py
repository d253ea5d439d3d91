# SPDX-License-Identifier: Apache-2.0
"""A capture on the agent's side: what it sends of planes, and what it refuses."""

from typing import Any

import pytest

from fwd.core.capturefilter import FilterError, Kind, Step, parse_filter
from fwd.model import FwdError
from fwd.ops.capturing import FRAME, CapturedTunnel, CaptureHeader, Capturing, Tap, header_of
from fwd.ops.control import CaptureRequest
from fwd.ops.report import drop_reasons
from fwd.plane import counter_info


class APlane:
    """Has lost so many when it is asked."""

    def __init__(self, *lost: int) -> None:
        self._lost = list(lost)

    def start_capture(self, *_: object, **__: object) -> None:
        """It begins."""

    def captured(self) -> tuple[bytes, int]:
        now = self._lost.pop(0) if len(self._lost) > 1 else self._lost[0]
        return b"x" * 8, now

    def end_capture(self) -> None:
        """It ends."""


class AnAsker:
    """Keeps all frames; stays for so many looks."""

    def __init__(self, looks: int) -> None:
        self._looks = looks
        self.frames: list[tuple[int, int, int]] = []

    async def send_line(self, _: object) -> None:
        """The header."""

    async def send(self, data: bytes) -> None:
        index, size, lost = FRAME.unpack_from(data)
        assert len(data) == FRAME.size + size
        self.frames.append((index, size, lost))

    async def stays(self, _: float) -> bool:
        self._looks -= 1
        return self._looks >= 0


def tap(family: int, *planes: Any) -> Tap:  # noqa: ANN401
    """Of a tunnel that has one plane after the other, the last one for ever."""
    left = list(planes)
    described = CapturedTunnel(
        device=f"flannel{family}", family=family, underlay="eth0", address="::1", port=8472
    )
    return Tap(described, plane=lambda: left.pop(0) if len(left) > 1 else left[0])


def header(*taps: Tap) -> CaptureHeader:
    return header_of(CaptureRequest(), node="n1", version="1", taps=taps, nodes={})


async def captured(*taps: Tap, looks: int, seconds: float = 10.0) -> list[tuple[int, int, int]]:
    asker: Any = AnAsker(looks)
    request = CaptureRequest(seconds=seconds)
    await Capturing().serve(asker, request, taps=taps, header=header(*taps), peers={})
    frames: list[tuple[int, int, int]] = asker.frames
    return frames


async def test_each_tunnel_ends_with_what_it_has_lost() -> None:
    frames = await captured(tap(4, APlane(0, 50_000)), tap(6, APlane(0)), looks=1)
    assert frames == [(0, 8, 0), (1, 8, 0), (0, 8, 50_000), (1, 8, 0), (0, 0, 50_000), (1, 0, 0)]


async def test_what_a_plane_lost_that_was_made_anew_is_not_forgotten() -> None:
    first, second = APlane(7), APlane(3, 4)
    frames = await captured(tap(4, first, second), looks=2)
    assert [lost for _, _, lost in frames] == [7, 10, 11, 11]


async def test_longer_than_can_be_is_refused() -> None:
    with pytest.raises(FwdError, match="a capture lasts for 3600 seconds at most"):
        await captured(tap(4, APlane(0)), looks=0, seconds=7200)
    assert len(await captured(tap(4, APlane(0)), looks=0, seconds=3600)) == 2


def test_a_reason_is_one_for_drops() -> None:
    reasons = header().reasons
    for index, info in enumerate(counter_info()):
        if info in drop_reasons():
            steps = parse_filter(f"reason {info.name}", peers={}, reasons=reasons)
            assert steps == (Step(Kind.VERDICT, index, index),)
        else:
            with pytest.raises(FilterError, match=f"there is no reason '{info.name}'"):
                parse_filter(f"reason {info.name}", peers={}, reasons=reasons)
