# SPDX-License-Identifier: Apache-2.0
"""flannel's backend-data of the vxlan backend: the VTEP's MAC and VNI as JSON.

The written form is part of the contract: stock flanneld compares it as text and recovers its MAC by
splitting it at `:"` (flannel spec 3.2), so that one space more makes it lose the MAC.
"""

import msgspec

from fwd.core.text import format_mac, mac_fault, parse_mac
from fwd.core.unreadable import UNREADABLE


class _Wire(msgspec.Struct, frozen=True):
    vni: int | None = msgspec.field(name="VNI", default=None)
    vtep_mac: str = msgspec.field(name="VtepMAC", default="")


class BackendData(msgspec.Struct, frozen=True):
    """VTEP of one lease.  vni is None where it was not written (flannel before v0.14)."""

    vtep_mac: bytes
    vni: int | None = None


_decoder = msgspec.json.Decoder(_Wire)


def decode(text: str | bytes) -> BackendData:
    """Reads `{"VNI":1,"VtepMAC":"aa:bb:cc:dd:ee:ff"}`, whatever its spacing and further keys.

    Raises ValueError, which names the key at fault.
    """
    try:
        wire = _decoder.decode(text)
    except UNREADABLE as error:
        raise ValueError(str(error)) from error
    if not wire.vtep_mac:
        raise ValueError("VtepMAC is missing")
    try:
        mac = parse_mac(wire.vtep_mac)
    except ValueError as error:
        raise ValueError(f"VtepMAC {error}") from error
    fault = mac_fault(mac)
    if fault:
        raise ValueError(f"VtepMAC {wire.vtep_mac} {fault}")
    return BackendData(vtep_mac=mac, vni=wire.vni)


def encode(vni: int, mac: bytes) -> str:
    """The exact text that flannel writes and looks for."""
    return f'{{"VNI":{vni},"VtepMAC":"{format_mac(mac)}"}}'
