# SPDX-License-Identifier: Apache-2.0
"""Records of packets out of a plane: drops as they come, everything while a capture runs."""

from collections.abc import Sequence
from typing import Any

from fwd._plane import ffi, lib
from fwd.core.capturefilter import MOST_STEPS, Kind, Step
from fwd.core.packetrecord import PASSED, RECORD, Point

BUFFER_BYTES = 256 << 10
"""Of one call: some milliseconds of work for who reads them."""

assert RECORD.size == ffi.sizeof("struct vx_record")
assert lib.VX_PASSED == PASSED
assert lib.VX_MAX_TESTS == MOST_STEPS
assert all(getattr(lib, f"VX_TEST_{kind.name}") == kind for kind in Kind)
assert max(Kind) == lib.VX_TEST_LAST
assert all(getattr(lib, f"VX_{point.name}") == point for point in Point)


def c_tests(steps: Sequence[Step]) -> Any:  # noqa: ANN401
    """A filter for C."""
    tests = ffi.new("struct vx_test[]", max(1, len(steps)))
    for test, step in zip(tests, steps, strict=False):
        test.what, test.low, test.high = step.kind, step.low, step.high
        if step.net is not None:
            test.family, test.length = step.net.version, step.net.prefixlen
            test.address = step.net.network_address.packed.ljust(lib.VX_ADDR_LEN, b"\0")
    return tests


class RecordReader:
    """A buffer to take records into, made once."""

    def __init__(self) -> None:
        self._buffer = ffi.new("uint8_t[]", BUFFER_BYTES)
        self._lost = ffi.new("uint64_t *")

    def drops(self, handle: Any) -> bytes:  # noqa: ANN401
        """Records of drops since the last call."""
        return self._taken(lib.vx_plane_drops(handle, self._buffer, BUFFER_BYTES))

    def captured(self, handle: Any) -> tuple[bytes, int]:  # noqa: ANN401
        """Records of the capture that runs since the last call; how many were lost in all."""
        used = lib.vx_plane_captured(handle, self._buffer, BUFFER_BYTES, self._lost)
        return self._taken(used), int(self._lost[0])

    def _taken(self, used: int) -> bytes:
        return bytes(ffi.buffer(self._buffer, used))
