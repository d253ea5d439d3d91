# SPDX-License-Identifier: Apache-2.0
"""net-conf.json with Go's decoding rules, flannel's defaults and flannel's error texts."""

import json
import random
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwd.core.netconf import NetConf, VxlanConf, parse_netconf
from fwd.model import IPV4, IPV6, ConfigError
from fwd.plane import MIN_MTU


def conf(**backend: Any) -> str:  # noqa: ANN401
    return json.dumps({"Network": "10.244.0.0/16", "Backend": {"Type": "vxlan"} | backend})


def test_the_usual_file() -> None:
    parsed = parse_netconf(conf())
    assert parsed == NetConf(network=IPv4Network("10.244.0.0/16"), backend=VxlanConf())
    assert parsed.networks == {IPV4: IPv4Network("10.244.0.0/16")}
    assert (parsed.backend.vni, parsed.backend.port, parsed.backend.mtu) == (1, 8472, None)
    assert parsed.backend.device(IPV4) == "flannel.1"
    assert parsed.backend.device(IPV6) == "flannel-v6.1"


def test_every_key() -> None:
    parsed = parse_netconf(
        """{"Network": "10.244.3.7/16", "IPv6Network": "fc00::/48", "EnableIPv6": true,
            "EnableNFTables": true, "SubnetLen": 24, "SubnetMin": "10.244.1.0",
            "SubnetMax": "10.244.9.0", "IPv6SubnetLen": 64, "IPv6SubnetMin": "fc00:0:0:1::",
            "IPv6SubnetMax": "fc00:0:0:ffff::", "Backend": {"Type": "VXLAN", "VNI": 4096,
            "Port": 4789, "MTU": 1414, "GBP": true, "Learning": true, "DirectRouting": true,
            "MacPrefix": "0E-2A", "Name": "x"}}"""
    )
    assert parsed == NetConf(
        network=IPv4Network("10.244.0.0/16"),
        ipv6_network=IPv6Network("fc00::/48"),
        enable_ipv6=True,
        enable_nftables=True,
        subnet_len=24,
        subnet_min=IPv4Address("10.244.1.0"),
        subnet_max=IPv4Address("10.244.9.0"),
        ipv6_subnet_len=64,
        ipv6_subnet_min=IPv6Address("fc00:0:0:1::"),
        ipv6_subnet_max=IPv6Address("fc00:0:0:ffff::"),
        backend=VxlanConf(
            vni=4096, port=4789, mtu=1414, gbp=True, learning=True, direct_routing=True
        ),
    )
    assert parsed.backend.ignored() == ("GBP", "Learning")
    assert set(parsed.networks) == {IPV4, IPV6}


def test_ipv6_bounds_that_are_null_are_none() -> None:
    """They are pointers in flannel; the IPv4 ones are not, and null is no address."""
    kept = '{"Network": "10.3.0.0/16", "Backend": {"Type": "vxlan"}, '
    parsed = parse_netconf(kept + '"IPv6SubnetMin": null, "ipv6subnetmax": null}')
    assert parsed == parse_netconf(kept + '"SubnetLen": null}')
    assert (parsed.ipv6_subnet_min, parsed.ipv6_subnet_max) == (None, None)
    with pytest.raises(ConfigError, match="SubnetMin: must be a string, not null"):
        parse_netconf(kept + '"SubnetMin": null}')


def test_ipv4_bounds_may_be_written_within_ipv6() -> None:
    written = '"SubnetMin": "::ffff:10.3.1.0", "SubnetMax": "::ffff:a03:0900"'
    parsed = parse_netconf(
        '{"Network": "10.3.0.0/16", "Backend": {"Type": "vxlan"}, ' + written + "}"
    )
    bounds = (IPv4Address("10.3.1.0"), IPv4Address("10.3.9.0"))
    assert (parsed.subnet_min, parsed.subnet_max) == bounds


def test_an_ipv6_network_alone_does_not_enable_ipv6() -> None:
    parsed = parse_netconf(
        '{"Network": "10.3.0.0/16", "IPv6Network": "fc00::/48", "Backend": {"Type": "vxlan"}}'
    )
    assert set(parsed.networks) == {IPV4}


@given(st.integers())
def test_keys_match_whatever_their_case(seed: int) -> None:
    rng = random.Random(seed)

    def shout(word: str) -> str:
        return "".join(rng.choice([c.upper(), c.lower()]) for c in word)

    written = json.dumps(
        {
            shout("Network"): "10.3.0.0/16",
            shout("enableNFTables"): True,
            shout("Backend"): {shout("Type"): shout("vxlan"), shout("VNI"): 7, shout("mtu"): 1400},
        }
    )
    parsed = parse_netconf(written)
    assert parsed.enable_nftables
    assert parsed.backend == VxlanConf(vni=7, mtu=1400)


def test_the_last_of_equal_keys_wins_and_null_is_no_value() -> None:
    parsed = parse_netconf(
        '{"network": "10.3.0.0/16", "Network": "10.4.0.0/16", "EnableIPv4": null, "Unknown": [1],'
        ' "Backend": {"Type": "vxlan", "VNI": 5, "vni": 6, "VNI": null, "Port": 0, "MTU": 0}}'
    )
    assert parsed.network == IPv4Network("10.4.0.0/16")
    assert parsed.enable_ipv4
    assert parsed.backend == VxlanConf(vni=6, port=8472, mtu=None)


PARSING = "error parsing subnet config: "
REGISTERING = "Error registering network: error decoding VXLAN backend config: "


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("", PARSING + "Expecting value"),
        ("{", PARSING),
        ("[]", PARSING + "must be an object, not an array"),
        ('"x"', PARSING + "must be an object, not a string"),
        (conf() + "x", PARSING + "Extra data"),
        ('{"Network": NaN}', PARSING + "NaN is not JSON"),
        ('{"Network": 7}', PARSING + "Network: must be a string, not a number"),
        ('{"Network": 7.5}', PARSING + "Network: must be a string, not a number"),
        ('{"network": null}', PARSING + "network: must be a string, not null"),
        ('{"Network": "10.3.0.0"}', PARSING + "Network: '10.3.0.0' is not a CIDR"),
        ('{"Network": "fc00::/48"}', PARSING + "Network: invalid IPv4 CIDR format: fc00::/48"),
        ('{"IPv6Network": "10.3.0.0/16"}', PARSING + "IPv6Network: invalid IPv6 CIDR format"),
        ('{"EnableIPv4": "true"}', PARSING + "EnableIPv4: must be true or false, not a string"),
        ('{"EnableIPv4": 1}', PARSING + "EnableIPv4: must be true or false, not a number"),
        ('{"SubnetLen": -1}', PARSING + "SubnetLen: must be a non-negative integer, not -1"),
        ('{"SubnetLen": 24.0}', PARSING + "SubnetLen: must be a non-negative integer, not 24.0"),
        ('{"SubnetLen": true}', PARSING + "SubnetLen: must be a non-negative integer, not a bool"),
        ('{"SubnetMin": "fc00::"}', PARSING + "SubnetMin: fc00:: is not an IPv4 address"),
        ('{"IPv6SubnetMin": "1.2.3.4"}', PARSING + "IPv6SubnetMin: 1.2.3.4 is not an IPv6 address"),
        ('{"EnableIPv4": false}', "none defined stack"),
        ("{}", "please define a correct Network parameter in the flannel config"),
        ("null", "please define a correct Network parameter in the flannel config"),
        (
            '{"EnableIPv4": false, "EnableIPv6": true}',
            "please define a correct IPv6Network parameter in the flannel config",
        ),
        ('{"Network": "10.3.0.0/16"}', "Error fetching backend: unknown backend type: udp"),
        (
            '{"Network": "10.3.0.0/16", "Backend": null}',
            "Error fetching backend: unknown backend type:  (",
        ),
        (
            '{"Network": "10.3.0.0/16", "Backend": {}}',
            "Error fetching backend: unknown backend type:  (",
        ),
        (
            '{"Network": "10.3.0.0/16", "Backend": {"Type": "host-gw"}}',
            "Error fetching backend: unknown backend type: host-gw",
        ),
        (
            '{"Network": "10.3.0.0/16", "Backend": "vxlan"}',
            "error decoding Backend property of config: must be an object, not a string",
        ),
        (
            '{"Network": "10.3.0.0/16", "Backend": {"Type": 7}}',
            "error decoding Backend property of config: Type: must be a string, not a number",
        ),
        (conf(VNI=2**24), REGISTERING + "VNI: 16777216 is not within 0 to 16777215"),
        (conf(VNI=-1), REGISTERING + "VNI: -1 is not within"),
        (conf(VNI="1"), REGISTERING + "VNI: must be an integer, not a string"),
        (conf(VNI=2**70), REGISTERING + "VNI: must be an integer"),
        (conf(Port=65536), REGISTERING + "Port: 65536 is not within 0 to 65535"),
        (conf(MTU=1e3), REGISTERING + "MTU: must be an integer, not 1000.0"),
        (conf(DirectRouting="yes"), REGISTERING + "DirectRouting: must be true or false"),
    ],
)
def test_what_is_wrong_is_said_in_flannels_words(written: str, says: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse_netconf(written)
    assert str(raised.value).startswith(says)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("vni", "families", "device"),
    [
        (10**4, (IPV4, IPV6), "flannel-v6.10000"),
        (10**4, (IPV6,), "flannel-v6.10000"),
        (2**24 - 1, (IPV6,), "flannel-v6.16777215"),
        (10**7, (IPV4,), "flannel.10000000"),
    ],
)
def test_a_vni_whose_devices_name_the_kernel_would_not_take_is_refused(
    vni: int, families: tuple[int, ...], device: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        parse_netconf(stacked(vni, families))
    most = "9999" if IPV6 in families else "9999999"
    assert str(raised.value) == (
        f"Error registering network: {device} is longer than a device's name may be (15 "
        f"characters): choose a VNI of {most} at most in net-conf.json, for all nodes"
    )


@pytest.mark.parametrize(
    ("vni", "families"), [(9999, (IPV4, IPV6)), (9999, (IPV6,)), (10**7 - 1, (IPV4,))]
)
def test_the_largest_vni_of_these_families(vni: int, families: tuple[int, ...]) -> None:
    backend = parse_netconf(stacked(vni, families)).backend
    assert backend.vni == vni
    assert max(len(backend.device(family)) for family in families) == 15


def stacked(vni: int, families: tuple[int, ...]) -> str:
    """A file with these families on, and networks of both."""
    return json.dumps(
        {
            "Network": "10.244.0.0/16",
            "IPv6Network": "fc00::/48",
            "EnableIPv4": IPV4 in families,
            "EnableIPv6": IPV6 in families,
            "Backend": {"Type": "vxlan", "VNI": vni},
        }
    )


@given(st.text() | st.binary())
def test_any_input_is_a_configuration_or_a_config_error(written: str | bytes) -> None:
    with suppress(ConfigError):
        parse_netconf(written)


# flannel spec 5.5, its table.
@pytest.mark.parametrize(
    ("link", "key", "pods", "device", "device_v6"),
    [
        (1500, None, 1450, 1450, 1430),
        (1500, 1414, 1364, 1364, 1364),
        (9000, None, 8950, 8950, 8930),
    ],
)
def test_the_mtus(link: int, key: int | None, pods: int, device: int, device_v6: int) -> None:
    backend = VxlanConf(mtu=key)
    assert backend.pod_mtu(link) == pods
    assert backend.device_mtu(IPV4, link) == device
    assert backend.device_mtu(IPV6, link) == device_v6


def test_an_mtu_too_small_for_ip_is_refused() -> None:
    assert VxlanConf().device_mtu(IPV4, 626) == MIN_MTU == 576
    with pytest.raises(ConfigError, match="leaves 575 for IPv4 Pods, which need 576"):
        VxlanConf().device_mtu(IPV4, 625)
    with pytest.raises(ConfigError, match="need 1280"):
        VxlanConf().device_mtu(IPV6, 1349)
