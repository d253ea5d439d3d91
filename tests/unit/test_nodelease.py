# SPDX-License-Identifier: Apache-2.0
"""What a Node means as a lease: a peer's, and our own (flannel spec 3.4, 3.5)."""

from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from fwd.core.nodelease import (
    Claims,
    NoSubnet,
    claims,
    operator_faults,
    overwrite_faults,
    own_leases,
    refuse_node_public_ip,
)
from fwd.model import ConfigError, Lease, OwnLease
from tests.unit.in_family import EACH_FAMILY, said
from tests.unit.kube_support import changed_in, mac, node

NETWORK = ip_network("10.244.0.0/16")
DUAL = {4: NETWORK, 6: ip_network("fd00::/48")}
V6: dict[str, Any] = {
    "backend-v6-data": '{"VNI":1,"VtepMAC":"02:00:00:00:06:02"}',
    "public-ipv6": "fd01::2",
}


def of(family: int, **changes: Any) -> Claims:  # noqa: ANN401
    """What n2 claims; changes are said in IPv4."""
    return claims(changed_in(family, 2, **changes).node, families=[family], vni=1)


def dual(**changes: Any) -> Claims:  # noqa: ANN401
    return claims(node(2, **changes), families=(4, 6), vni=1)


@EACH_FAMILY
def test_a_peer(family: int) -> None:
    wanted = Claims(
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
    assert of(family) == said(family, wanted)


@EACH_FAMILY
@pytest.mark.parametrize("managed", [None, "", "false", "True", "TRUE", " true"])
def test_a_node_that_flannel_does_not_manage_is_nothing(family: int, managed: str | None) -> None:
    assert of(family, kube_subnet_manager=managed) == Claims()


@EACH_FAMILY
@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"backend_type": "udp"}, "ignoring non-vxlan 10.244.2.0/24: type=udp"),
        ({"backend_type": None}, "ignoring non-vxlan 10.244.2.0/24: type="),
        ({"public_ip": None}, "invalid IP address format"),
        ({"public_ip": None, "backend_data": None}, "invalid IP address format"),
        ({"public_ip": "10.0.0"}, "invalid IP address format"),
        ({"public_ip": "::1"}, "invalid IPv4 address format"),
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
def test_why_a_peer_has_no_lease(family: int, changes: dict[str, Any], says: str) -> None:
    found = of(family, **changes)
    assert not found.leases
    (fault,) = found.faults
    assert said(family, says) in fault
    if "non-vxlan" not in says:
        assert fault.startswith('Error turning node "n2" to lease: ')


@EACH_FAMILY
def test_of_two_subnets_of_one_family_peers_take_the_first_and_the_owner_the_last(
    family: int,
) -> None:
    both = {"podCIDRs": ["10.244.2.0/24", "10.244.3.0/24"]}
    (lease,) = of(family, spec=both).leases
    assert str(lease.subnet) == said(family, "10.244.2.0/24")
    found = own(family, spec=both)
    assert isinstance(found, OwnLease)
    assert str(found.subnet) == said(family, "10.244.3.0/24")


@EACH_FAMILY
def test_backend_data_without_vni_is_of_an_old_flannel_and_ours(family: int) -> None:
    old = changed_in(family, 2, backend_data='{"VtepMAC":"02:00:00:00:00:02"}').node
    (lease,) = claims(old, families=[family], vni=7).leases
    assert lease.vni == 7


@EACH_FAMILY
def test_the_vni_of_a_peer_is_kept_for_comparison(family: int) -> None:
    (lease,) = of(family, backend_data='{"VNI":9,"VtepMAC":"02:00:00:00:00:02"}').leases
    assert lease.vni == 9


def test_a_bad_ipv6_half_does_not_cost_the_ipv4_half() -> None:
    """flannel leaves out the whole node (3.5)."""
    cidrs = {"podCIDRs": ["10.244.2.0/24", "fd00:0:0:2::/64"]}
    whole = dual(spec=cidrs, **V6)
    assert [(lease.family, str(lease.public_ip)) for lease in whole.leases] == [
        (4, "192.168.0.2"),
        (6, "fd01::2"),
    ]
    half = dual(spec=cidrs, **V6 | {"public-ipv6": "nonsense"})
    assert [lease.family for lease in half.leases] == [4]
    assert half.faults == (
        "Error turning node \"n2\" to lease: invalid IP address format: public-ip 'nonsense'",
    )
    assert dual().faults == (), "an IPv4-only peer is no fault"


def own(family: int, **changes: Any) -> OwnLease | NoSubnet:  # noqa: ANN401
    """What n1 has; changes are said in IPv4."""
    ours = changed_in(family, 1, **changes).node
    found = own_leases(ours, networks={family: said(family, NETWORK)})
    return found if isinstance(found, NoSubnet) else found[0]


@EACH_FAMILY
def test_our_own_lease_with_the_mac_that_was_published(family: int) -> None:
    wanted = OwnLease(
        node="n1",
        subnet=ip_network("10.244.1.0/24"),
        vtep_mac=bytes.fromhex(mac(1).replace(":", "")),
    )
    assert own(family) == said(family, wanted)
    found = own(family, annotations={})
    assert isinstance(found, OwnLease)
    assert found.vtep_mac is None, "nobody managed it yet, and that is how all begin"


@EACH_FAMILY
@pytest.mark.parametrize(
    "data", ["null", '{"VtepMAC":"x"}', '{"VtepMAC":"00:00:00:00:00:00"}', "{", '"udp"', ""]
)
def test_backend_data_of_another_backend_has_no_mac_for_us(family: int, data: str) -> None:
    found = own(family, backend_data=data)
    assert isinstance(found, OwnLease)
    assert found.vtep_mac is None


@EACH_FAMILY
def test_a_mac_is_recovered_whatever_the_spacing(family: int) -> None:
    """Stock flannel loses it (3.2)."""
    found = own(family, backend_data='{ "VtepMAC": "02:00:00:00:00:77", "VNI": 1, "more": "x" }')
    assert isinstance(found, OwnLease)
    assert found.vtep_mac == b"\x02\0\0\0\0\x77"


@EACH_FAMILY
def test_operators_choose_addresses(family: int) -> None:
    chosen = {"public-ip-overwrite": "203.0.113.1", "node-public-ip": "192.168.7.1"}
    found = own(family, **chosen)
    assert isinstance(found, OwnLease)
    wanted = ip_address("203.0.113.1"), ip_address("192.168.7.1")
    assert (found.public_ip, found.underlay_ip) == said(family, wanted)
    ours = changed_in(family, 1, **chosen).node
    assert not operator_faults(ours, families=[family])
    refuse_node_public_ip(ours, families=[family])


def test_ipv4_addresses_may_be_written_within_ipv6() -> None:
    (lease,) = of(4, public_ip="::ffff:192.0.2.2").leases
    assert lease.public_ip == ip_address("192.0.2.2")
    chosen = {"public-ip-overwrite": "::ffff:203.0.113.1", "node-public-ip": "::ffff:c0a8:701"}
    found = own(4, **chosen)
    assert isinstance(found, OwnLease)
    wanted = ip_address("203.0.113.1"), ip_address("192.168.7.1")
    assert (found.public_ip, found.underlay_ip) == wanted
    ours = changed_in(4, 1, **chosen).node
    assert not operator_faults(ours, families=[4])
    refuse_node_public_ip(ours, families=[4])


@EACH_FAMILY
@pytest.mark.parametrize("written", ["gateway.example", "::1", "192.168.7", "192.168.7.1/24"])
def test_a_node_public_ip_that_is_no_address_is_an_error_like_the_flag(
    family: int, written: str
) -> None:
    ours = changed_in(family, 1, **{"node-public-ip": written}).node
    kind = "IP" if family == 4 else "IPv6"
    with pytest.raises(ConfigError) as caught:
        refuse_node_public_ip(ours, families=[family])
    wanted = f"invalid public {kind} address: {said(family, written)} (annotation node-public-ip)"
    assert str(caught.value) == wanted
    refuse_node_public_ip(ours, families=[10 - family])  # which is off
    assert not overwrite_faults(ours, families=[family])


@EACH_FAMILY
def test_an_overwrite_that_no_peer_could_read_is_ignored_and_named(family: int) -> None:
    bad = {"public-ip-overwrite": "gateway.example", "node-public-ip": "::1"}
    found = own(family, **bad)
    assert isinstance(found, OwnLease)
    assert (found.public_ip, found.underlay_ip) == (None, None)
    wanted = (
        "public-ip-overwrite 'gateway.example' is not an IPv4 address",
        "node-public-ip '::1' is not an IPv4 address",
    )
    ours = changed_in(family, 1, **bad).node
    assert operator_faults(ours, families=[family]) == said(family, wanted)
    assert overwrite_faults(ours, families=[family]) == said(family, wanted[:1])


@EACH_FAMILY
@pytest.mark.parametrize("spec", [None, {}, {"podCIDR": ""}, {"podCIDRs": []}, {"podCIDRs": None}])
def test_a_subnet_may_still_come(family: int, spec: dict[str, Any] | None) -> None:
    assert own(family, spec=spec) == NoSubnet('node "n1" pod cidr not assigned')


@EACH_FAMILY
def test_without_pod_cidrs_there_is_pod_cidr(family: int) -> None:
    found = own(family, spec={"podCIDR": "10.244.9.0/24"})
    assert isinstance(found, OwnLease)
    assert str(found.subnet) == said(family, "10.244.9.0/24")


@EACH_FAMILY
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
                '"10.245.1.0/24" '
            ),
        ),
        ({"cidr": "10.0.0.0/8"}, "doesn't contain"),
        ({"cidr": "10.244.0.0/15"}, "doesn't contain"),
        ({"cidr": "ten"}, "node \"n1\": 'ten' is not a CIDR"),
    ],
)
def test_what_waiting_does_not_cure(family: int, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        own(family, **changes)
    assert str(caught.value).startswith("Error registering network: failed to acquire lease: "), (
        "flannel's words"
    )
    assert said(family, says) in str(caught.value)


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
