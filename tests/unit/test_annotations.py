# SPDX-License-Identifier: Apache-2.0
"""Keys of annotations, and what an owner writes (flannel spec 3.2, 3.3)."""

from ipaddress import ip_address, ip_network

import pytest

from fwd.core.annotations import Annotations, Keys, published, unwritten
from fwd.model import ConfigError, Lease

LEASE = Lease(
    node="n1",
    subnet=ip_network("10.244.1.0/24"),
    public_ip=ip_address("192.168.0.1"),
    vtep_mac=bytes.fromhex("12c665 89b4e3".replace(" ", "")),
    vni=1,
)
LEASE_V6 = Lease(
    node="n1",
    subnet=ip_network("fd00:1::/64"),
    public_ip=ip_address("FD00::0001"),
    vtep_mac=b"\x02\0\0\0\0\x06",
    vni=1,
)


@pytest.mark.parametrize(
    ("prefix", "key"),
    [
        ("flannel.alpha.coreos.com", "flannel.alpha.coreos.com/public-ip"),
        ("flannel.alpha.coreos.com/", "flannel.alpha.coreos.com/public-ip"),
        ("x.y/z", "x.y/z-public-ip"),
        ("x.y/z-", "x.y/z-public-ip"),
        ("a-b.c_d.e0/f_1", "a-b.c_d.e0/f_1-public-ip"),
        ("UPPER.x.y/z", "UPPER.x.y/z-public-ip"),  # unanchored at the start, as flannel's is
    ],
)
def test_a_prefix_makes_keys(prefix: str, key: str) -> None:
    assert Keys(prefix).key("public_ip") == key
    assert Keys(prefix).names["public_ip"] == key


@pytest.mark.parametrize("prefix", ["a.b/c/d", "a.b//"])
def test_a_prefix_has_one_slash(prefix: str) -> None:
    failed = "^Failed to create SubnetManager: error creating network manager: subnet/kube: "
    with pytest.raises(ConfigError, match=f"{failed}prefix can contain at most single slash"):
        Keys(prefix)


@pytest.mark.parametrize("prefix", ["", "nodots", "a.b/C", "a.b/c d", "a./c", "/x", "a.b/ü"])
def test_a_prefix_is_a_name_with_dots(prefix: str) -> None:
    with pytest.raises(ConfigError, match="prefix must be in a format: fqdn/"):
        Keys(prefix)


def test_all_keys() -> None:
    names = Keys().names
    assert len(set(names.values())) == len(names) == 10
    assert names["backend_v6_data"] == "flannel.alpha.coreos.com/backend-v6-data"
    assert names["public_ipv6_overwrite"] == "flannel.alpha.coreos.com/public-ipv6-overwrite"


def test_an_owner_writes_flannels_exact_texts() -> None:
    assert published([LEASE]) == {
        "kube_subnet_manager": "true",
        "backend_type": "vxlan",
        "backend_data": '{"VNI":1,"VtepMAC":"12:c6:65:89:b4:e3"}',
        "public_ip": "192.168.0.1",
    }


def test_ipv6_has_keys_of_its_own() -> None:
    assert published([LEASE_V6]) == {
        "kube_subnet_manager": "true",
        "backend_type": "vxlan",
        "backend_v6_data": '{"VNI":1,"VtepMAC":"02:00:00:00:00:06"}',
        "public_ipv6": "fd00::1",
    }
    assert published([LEASE, LEASE_V6]) == published([LEASE]) | published([LEASE_V6])


def test_only_what_differs_is_written() -> None:
    wanted = published([LEASE])
    assert unwritten(wanted, Annotations()) == wanted
    there = Annotations(**wanted)
    assert unwritten(wanted, there) == {}
    spaced = Annotations(**wanted | {"backend_data": '{"VNI": 1, "VtepMAC": "12:c6:65:89:b4:e3"}'})
    assert list(unwritten(wanted, spaced)) == ["backend_data"], "flannel compares text"
    assert unwritten(wanted, Annotations(**wanted | {"public_ip": ""})) == {
        "public_ip": "192.168.0.1"
    }
