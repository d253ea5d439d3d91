# SPDX-License-Identifier: Apache-2.0
"""flannel's backend-data: the exact text out, any JSON in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwd.core import backenddata

MAC = b"\x12\xc6\x65\x89\xb4\xe3"
UNICAST = st.binary(min_size=6, max_size=6).filter(lambda mac: not mac[0] & 1 and any(mac))


def test_the_text_is_flannels_to_the_byte() -> None:
    assert backenddata.encode(1, MAC) == '{"VNI":1,"VtepMAC":"12:c6:65:89:b4:e3"}'


@given(st.integers(0, 2**24 - 1), UNICAST)
def test_a_stock_flanneld_recovers_the_mac(vni: int, mac: bytes) -> None:
    """Its recovery, slowly: trim quote and brace at the end, split at colon-quote into two."""
    parts = backenddata.encode(vni, mac).rstrip('"}').split(':"')
    assert len(parts) == 2
    assert bytes.fromhex(parts[1].replace(":", "")) == mac


@given(st.integers(0, 2**24 - 1), UNICAST)
def test_it_reads_what_it_writes(vni: int, mac: bytes) -> None:
    assert backenddata.decode(backenddata.encode(vni, mac)) == backenddata.BackendData(mac, vni)


def test_old_flannel_wrote_no_vni_and_new_keys_do_not_hurt() -> None:
    assert backenddata.decode('{"VtepMAC": "12:C6:65:89:B4:E3"}').vni is None
    assert backenddata.decode('{"VNI":7, "VtepMAC":"12:c6:65:89:b4:e3", "X":"y"}').vni == 7


@pytest.mark.parametrize(
    "written",
    [
        '{"vni":7,"vtepmac":"12:c6:65:89:b4:e3"}',
        '{"Vni":7,"VTEPMAC":"12:C6:65:89:B4:E3"}',
        '{"VNI":1,"VtepMAC":"02:00:00:00:00:01","vni":7,"vtepMac":"12:c6:65:89:b4:e3"}',
        '{"VNI":7,"VtepMAC":"12:c6:65:89:b4:e3","vtepmac":null}',
        b'{"vni":7,"VtepMac":"12-c6-65-89-b4-e3","x":{"VNI":"y"}}',
    ],
)
def test_keys_are_matched_as_go_matches_them(written: str | bytes) -> None:
    """In any case; the last of several wins; null says nothing."""
    assert backenddata.decode(written) == backenddata.BackendData(MAC, 7)


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("null", "VtepMAC is missing"),
        ("7", "must be an object, not a number"),
        ("", "Expecting value"),
        ("{", "Expecting property name"),
        ("[" * 9999, "nested too deeply"),
        ('{"VNI":-1,"VtepMAC":"12:c6:65:89:b4:e3"}', "VNI: must be a non-negative"),
        ('{"VNI":1}', "VtepMAC is missing"),
        ('{"VNI":"1","VtepMAC":"12:c6:65:89:b4:e3"}', "VNI: must be .*, not a string"),
        ('{"VtepMAC":7}', "VtepMAC: must be a string"),
        ('{"VtepMAC":"12:c6"}', "VtepMAC '12:c6' is not a MAC"),
        ('{"VtepMAC":"00:00:00:00:00:00"}', "VtepMAC 00:00:00:00:00:00 is zero"),
        ('{"VtepMAC":"01:00:5e:00:00:01"}', "is a multicast address"),
    ],
)
def test_what_is_wrong_is_named(written: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        backenddata.decode(written)
