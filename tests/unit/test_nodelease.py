# SPDX-License-Identifier: Apache-2.0
"""What a Node means as a lease: a peer's, and our own (flannel spec 3.4, 3.5)."""

from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from fwd.core.nodelease import Claims, NoSubnet, claims, operator_faults, own_leases
from fwd.model import ConfigError, Lease, OwnLease
from tests.unit.kube_support import mac, node

NETWORKS = {4: ip_network("10.244.0.0/16")}
DUAL = NETWORKS | {6: ip_network("fd00::/48")}
V6: dict[str, Any] = {
    "backend-v6-data": '{"VNI":1,"VtepMAC":"02:00:00:00:06:02"}',
    "public-ipv6": "fd01::2",
}


def of(*, families: tuple[int, ...] = (4,), **changes: Any) -> Claims:  # noqa: ANN401
    return claims(node(2, **changes), families=families, vni=1)


def test_a_peer() -> None:
    assert of() == Claims(
        leases=(
            Lease(
                node="n2",
                subnet=ip_network("10.244.2.0/24"),
                public_ip=ip_address("192.168.0.2"),
                vtep_mac=bytes.fromhex(mac(2).replace(":", "")),
                vni=1,
            ),
        )
    )


@pytest.mark.parametrize("managed", [None, "", "false", "True", "TRUE", " true"])
def test_a_node_that_flannel_does_not_manage_is_nothing(managed: str | None) -> None:
    assert of(kube_subnet_manager=managed) == Claims()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"backend_type": "udp"}, "ignoring non-vxlan 10.244.2.0/24: type=udp"),
        ({"backend_type": None}, "ignoring non-vxlan 10.244.2.0/24: type="),
        ({"public_ip": None}, "invalid IP address format"),
        ({"public_ip": None, "backend_data": None}, "invalid IP address format"),
        ({"public_ip": "10.0.0"}, "invalid IP address format"),
        ({"public_ip": "fd00::1"}, "invalid IPv4 address format"),
        ({"cidr": ""}, "missing IPv4 address on n.Spec.PodCIDRs"),
        ({"cidr": "fd00::/64"}, "missing IPv4 address on n.Spec.PodCIDRs"),
        (
            {"spec": {"podCIDRs": ["10.244.1.0/24", "10.244.2.0/24", "fd00::/64"]}},
            "missing IPv4 address on n.Spec.PodCIDRs",
        ),
        ({"cidr": "10.244.2.0"}, "'10.244.2.0' is not a CIDR"),
        ({"backend_data": None}, "error decoding subnet lease JSON: "),
        ({"backend_data": "null"}, "error decoding subnet lease JSON: "),
        ({"backend_data": '{"VNI":1}'}, "error decoding subnet lease JSON: VtepMAC is missing"),
        ({"backend_data": '{"VNI":"1","VtepMAC":"02:00:00:00:00:02"}'}, "error decoding subnet"),
        ({"backend_data": '{"VNI":1,"VtepMAC":"00:00:00:00:00:00"}'}, "is zero"),
    ],
)
def test_why_a_peer_has_no_lease(changes: dict[str, Any], says: str) -> None:
    found = of(**changes)
    assert not found.leases
    (fault,) = found.faults
    assert says in fault
    if "non-vxlan" not in says:
        assert fault.startswith('Error turning node "n2" to lease: ')


def test_of_two_subnets_of_one_family_peers_take_the_first_and_the_owner_the_last() -> None:
    both = {"podCIDRs": ["10.244.2.0/24", "10.244.3.0/24"]}
    (lease,) = of(spec=both).leases
    assert lease.subnet == ip_network("10.244.2.0/24")
    own = own_leases(node(2, spec=both), networks=NETWORKS)
    assert isinstance(own, tuple)
    assert own[0].subnet == ip_network("10.244.3.0/24")


def test_backend_data_without_vni_is_of_an_old_flannel_and_ours() -> None:
    (lease,) = claims(
        node(2, backend_data='{"VtepMAC":"02:00:00:00:00:02"}'), families=[4], vni=7
    ).leases
    assert lease.vni == 7


def test_the_vni_of_a_peer_is_kept_for_comparison() -> None:
    (lease,) = of(backend_data='{"VNI":9,"VtepMAC":"02:00:00:00:00:02"}').leases
    assert lease.vni == 9


def test_a_bad_ipv6_half_does_not_cost_the_ipv4_half() -> None:
    """flannel leaves out the whole node (3.5)."""
    cidrs = {"podCIDRs": ["10.244.2.0/24", "fd00:0:0:2::/64"]}
    dual = of(families=(4, 6), spec=cidrs, **V6)
    assert [(lease.family, str(lease.public_ip)) for lease in dual.leases] == [
        (4, "192.168.0.2"),
        (6, "fd01::2"),
    ]
    half = of(families=(4, 6), spec=cidrs, **V6 | {"public-ipv6": "nonsense"})
    assert [lease.family for lease in half.leases] == [4]
    assert half.faults == (
        "Error turning node \"n2\" to lease: invalid IP address format: public-ip 'nonsense'",
    )
    assert of(families=(4, 6)).faults == (), "an IPv4-only peer is no fault"


def own(**changes: Any) -> OwnLease | NoSubnet:  # noqa: ANN401
    found = own_leases(node(1, **changes), networks=NETWORKS)
    return found if isinstance(found, NoSubnet) else found[0]


def test_our_own_lease_with_the_mac_that_was_published() -> None:
    assert own() == OwnLease(
        node="n1",
        subnet=ip_network("10.244.1.0/24"),
        vtep_mac=bytes.fromhex(mac(1).replace(":", "")),
    )
    found = own(annotations={})
    assert isinstance(found, OwnLease)
    assert found.vtep_mac is None, "nobody managed it yet, and that is how all begin"


@pytest.mark.parametrize(
    "data", ["null", '{"VtepMAC":"x"}', '{"VtepMAC":"00:00:00:00:00:00"}', "{", '"udp"', ""]
)
def test_backend_data_of_another_backend_has_no_mac_for_us(data: str) -> None:
    found = own(backend_data=data)
    assert isinstance(found, OwnLease)
    assert found.vtep_mac is None


def test_a_mac_is_recovered_whatever_the_spacing() -> None:
    """Stock flannel loses it (3.2)."""
    found = own(backend_data='{ "VtepMAC": "02:00:00:00:00:77", "VNI": 1, "more": "x" }')
    assert isinstance(found, OwnLease)
    assert found.vtep_mac == b"\x02\0\0\0\0\x77"


def test_operators_choose_addresses() -> None:
    chosen = {"public-ip-overwrite": "203.0.113.1", "node-public-ip": "192.168.7.1"}
    found = own(**chosen)
    assert isinstance(found, OwnLease)
    assert (found.public_ip, found.underlay_ip) == (
        ip_address("203.0.113.1"),
        ip_address("192.168.7.1"),
    )
    assert not operator_faults(node(1, **chosen), families=[4])


def test_an_overwrite_that_no_peer_could_read_is_ignored_and_named() -> None:
    bad = {"public-ip-overwrite": "gateway.example", "node-public-ip": "fd00::1"}
    found = own(**bad)
    assert isinstance(found, OwnLease)
    assert (found.public_ip, found.underlay_ip) == (None, None)
    assert operator_faults(node(1, **bad), families=[4]) == (
        "public-ip-overwrite 'gateway.example' is not an IPv4 address",
        "node-public-ip 'fd00::1' is not an IPv4 address",
    )


@pytest.mark.parametrize("spec", [None, {}, {"podCIDR": ""}, {"podCIDRs": []}, {"podCIDRs": None}])
def test_a_subnet_may_still_come(spec: dict[str, Any] | None) -> None:
    assert own(spec=spec) == NoSubnet('node "n1" pod cidr not assigned')


def test_without_pod_cidrs_there_is_pod_cidr() -> None:
    found = own(spec={"podCIDR": "10.244.9.0/24"})
    assert isinstance(found, OwnLease)
    assert found.subnet == ip_network("10.244.9.0/24")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"spec": {"podCIDRs": ["10.244.1.0/24", "10.244.2.0/24", "10.244.3.0/24"]}},
            'node "n1" pod cidrs should be IPv4/IPv6 only or dualstack',
        ),
        (
            {"cidr": "10.245.1.0/24"},
            (
                'subnet "10.244.0.0/16" specified in the flannel net config doesn\'t contain '
                '"10.245.1.0/24" PodCIDR of the "n1" node'
            ),
        ),
        ({"cidr": "10.0.0.0/8"}, "doesn't contain"),
        ({"cidr": "ten"}, "node \"n1\": 'ten' is not a CIDR"),
    ],
)
def test_what_waiting_does_not_cure(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        own(**changes)
    assert str(caught.value).startswith("Error registering network: failed to acquire lease: "), (
        "flannel's words"
    )
    assert says in str(caught.value)


def test_both_families_are_asked_for_where_both_are_on() -> None:
    assert own_leases(node(1), networks=DUAL) == NoSubnet(
        'node "n1" pod cidr not assigned for IPv6'
    )
    cidrs = {"podCIDRs": ["10.244.1.0/24", "fd00:0:0:1::/64"]}
    both = own_leases(node(1, spec=cidrs, **V6), networks=DUAL)
    assert isinstance(both, tuple)
    assert [lease.subnet.version for lease in both] == [4, 6]
    assert both[1].vtep_mac == b"\x02\0\0\0\x06\x02"
    with pytest.raises(ConfigError, match="IPv6 PodCIDR of the"):
        own_leases(node(1, spec={"podCIDRs": ["10.244.1.0/24", "fe00::/64"]}), networks=DUAL)
