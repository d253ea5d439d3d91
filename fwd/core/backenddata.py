# SPDX-License-Identifier: Apache-2.0
"""flannel's backend-data of the vxlan backend: the VTEP's MAC and VNI as JSON.

The written form is part of the contract: stock flanneld compares it as text and recovers its MAC by
splitting it at `:"` (flannel spec 3.2), so that one space more makes it lose the MAC.
"""

from typing import Any

import msgspec

from fwd.core import gojson
from fwd.core.text import format_mac, mac_fault, parse_mac


class BackendData(msgspec.Struct, frozen=True):
    """VTEP of one lease.  vni is None where it was not written (flannel before v0.14)."""

    vtep_mac: bytes
    vni: int | None = None


def decode(text: str | bytes | msgspec.Raw) -> BackendData:
    """Reads `{"VNI":1,"VtepMAC":"aa:bb:cc:dd:ee:ff"}`, whatever its spacing and further keys.

    Raises ValueError, which names the key at fault.
    """
    return of(gojson.parse(text if isinstance(text, str) else bytes(text)))


def of(value: Any) -> BackendData:  # noqa: ANN401 - JSON
    """The same of JSON that was read already, by `gojson.parse`.  Raises ValueError, too."""
    found = gojson.fields(value, _KEYS)
    written = found.get("vtep_mac", "")
    if not written:
        raise ValueError("VtepMAC is missing")
    try:
        mac = parse_mac(written)
    except ValueError as error:
        raise ValueError(f"VtepMAC {error}") from error
    fault = mac_fault(mac)
    if fault:
        raise ValueError(f"VtepMAC {written} {fault}")
    return BackendData(vtep_mac=mac, vni=found.get("vni"))


_KEYS: dict[str, gojson.Decode] = {"vni": gojson.unsigned, "vtep_mac": gojson.string}


def encode(vni: int, mac: bytes) -> str:
    """The exact text that flannel writes and looks for."""
    return f'{{"VNI":{vni},"VtepMAC":"{format_mac(mac)}"}}'
