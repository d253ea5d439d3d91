# SPDX-License-Identifier: Apache-2.0
"""The doctor on a node with both families: what is wrong with one of them is told of that one."""

from collections.abc import Iterator

import pytest

from fwd.lab.topology import Source
from tests.netns import topo
from tests.netns.doctor_support import Doctor

pytestmark = pytest.mark.netns


@pytest.fixture(scope="module")
def doctor() -> Iterator[Doctor]:
    with topo.built(source=Source.KUBE, families=(4, 6)) as net:
        yield Doctor(net)


def test_all_is_well_in_both_families(doctor: Doctor) -> None:
    report = doctor.of_agent("--peers")
    assert (report.graded("wrong"), report.code) == ([], 0)
    peers = [line for line in report.graded("ok") if line.startswith("peer ")]
    assert [line.count("1450 bytes pass") for line in peers] == [1, 1, 0, 0]
    assert [line.count("1430 bytes pass") for line in peers] == [0, 0, 1, 1]
    for subject in ("underlay IPv4", "underlay IPv6", "ip_forward", "IPv6 forwarding"):
        assert any(line.startswith(subject) for line in report.graded("ok")), subject


def test_what_is_wrong_with_ipv6_alone(doctor: Doctor) -> None:
    with doctor.annotated(3, mac="02:00:00:00:66:66", data="backend-v6-data"):
        doctor.of_agent("--peers").names(
            r"peer n3: wrong MAC: it answers to broadcast, and not to 02:00:00:00:66:66",
            r"agent of n3",
        )
    drop = "ip6tables -A FORWARD -i flannel-v6.1 -j DROP"
    with doctor.done(1, "sh", "-c", drop, undo="ip6tables -F FORWARD"):
        doctor.of_agent().names(
            r"ip6tables-nft filter FORWARD drops Pods' packets from the tunnel: -A FORWARD -i fla",
            r"ip6tables -I FORWARD",
        )
    doctor.net.ip(doctor.net.switch, "link set port2 mtu 1400")
    try:
        report = doctor.of_agent("--peers")
        assert len(report.graded("wrong")) == 2
        assert any('"MTU": 1380 in' in line for line in report.graded("wrong"))
    finally:
        doctor.net.ip(doctor.net.switch, "link set port2 mtu 1500")
