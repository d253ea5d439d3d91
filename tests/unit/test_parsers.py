# SPDX-License-Identifier: Apache-2.0
"""Every parser of bytes from outside, given what is nearly right: a value, or a ValueError.

Each example is one that somebody could have written; it is cut, doubled, and changed byte by byte.
What was found once stays here as an example.
"""

import contextlib
import zlib
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fwd.core import backenddata, handovertalk
from fwd.core.netconf import parse_netconf
from fwd.model import FwdError
from fwd.node.handover.kits import settings_of
from fwd.node.savedstate import SavedState
from fwd.plane.table import unpack_table
from tests.unit.test_handovertalk import KIT

NET_CONF = (
    b'{"Network":"10.244.0.0/16","EnableIPv6":true,"IPv6Network":"fd00::/48",'
    b'"Backend":{"Type":"vxlan","VNI":1,"Port":8472,"DirectRouting":true}}'
)
BACKEND = b'{"VNI":1,"VtepMAC":"02:00:00:00:00:01"}'
TABLE = b"fwdtab\0\1\1\0\0\0\1\0\0\0" + bytes(28 + 24)


def saved(body: bytes) -> object:
    """The file with a right checksum: what is behind it is what counts."""
    state = SavedState(Path("/nowhere"), node="", networks={4: ip_network("10.244.0.0/16")}, vni=1)
    return state._parse(b"fwd leases 2\n" + zlib.crc32(body).to_bytes(4) + body)


def kit(data: bytes) -> object:
    message = handovertalk.decode(data)
    return settings_of(message) if isinstance(message, handovertalk.Kit) else message


def text(parse: Callable[[str], object]) -> Callable[[bytes], object]:
    return lambda data: parse(data.decode("utf-8", "replace"))


PARSERS: dict[str, tuple[Callable[[bytes], object], bytes]] = {
    "net-conf.json": (parse_netconf, NET_CONF),
    "backend-data": (text(backenddata.decode), BACKEND),
    "saved state": (saved, b"\x97\xa2n1\x91\xad10.244.0.0/16\x01\x90\x90\x90\x90"),
    "a hand-over's message": (kit, handovertalk.encode(KIT)),
    "a kept table": (unpack_table, TABLE),
}


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """Some bytes changed, a piece cut out or doubled, something put in."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        to = draw(st.integers(at, min(len(data), at + 16)))
        data[at:to] = draw(
            st.one_of(
                st.just(b""),
                st.just(bytes(data[at:to]) * 2),
                st.binary(max_size=8),
                st.sampled_from([b"null", b"-1", b"1e400", b"[[[[", b'"', b"\xff", b"9" * 400]),
            )
        )
    return bytes(data)


@pytest.mark.parametrize("what", PARSERS)
@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.data())
def test_nearly_right_is_a_value_or_an_error(what: str, data: st.DataObject) -> None:
    parse, whole = PARSERS[what]
    with contextlib.suppress(ValueError, FwdError):
        parse(data.draw(damaged(whole)))


@pytest.mark.parametrize("what", PARSERS)
@settings(deadline=None)
@given(st.binary(max_size=200))
@example(b"")
@example(b"[" * 100_000)
def test_anything_is_a_value_or_an_error(what: str, data: bytes) -> None:
    with contextlib.suppress(ValueError, FwdError):
        PARSERS[what][0](data)
