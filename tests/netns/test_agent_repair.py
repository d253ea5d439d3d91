# SPDX-License-Identifier: Apache-2.0
"""What others take away from the agent, or have already: address, route, device, port."""

import json

import pytest

from tests.netns.agent_support import Agent, Cluster
from tests.netns.test_agent import DEVICE, own_addresses, routes

pytestmark = [pytest.mark.netns, pytest.mark.root]

VXLAN = "type vxlan id 1 dstport 8472 local 192.168.50.1 dev u1 nolearning"


@pytest.mark.parametrize(
    "change",
    [
        ("route del 10.244.0.0/16",),
        (f"address del 10.244.1.0/32 dev {DEVICE}",),
        (f"link set {DEVICE} down", f"link set {DEVICE} up"),
    ],
    ids=["route", "address", "down and up"],
)
def test_a_lost_address_or_route_is_put_back(
    pair: tuple[Cluster, Agent, Agent], change: tuple[str, ...]
) -> None:
    cluster, first, _ = pair
    for line in change:
        cluster.n1.ip(*line.split())
    assert "lacked=" in first.says("device-repaired")
    assert routes(cluster) == ["10.244.0.0/16"]
    assert own_addresses(cluster) == ["10.244.1.0/32"]
    assert cluster.n1.pings("10.244.2.0")


def test_a_start_that_fails_loses_no_mac(cluster: Cluster) -> None:
    mac = "0e:11:22:33:44:55"
    del cluster.entries["n1"]["backend-data"]
    cluster.write()
    cluster.n1.ip("link", "add", DEVICE, "address", mac, *VXLAN.split())
    cluster.n1.ip("link", "add", "other", *VXLAN.replace("id 1", "id 9").split())
    cluster.n1.ip("link", "set", "other", "up")  # has the port
    assert cluster.start("n1").ended() == 1
    cluster.n1.ip("link", "del", "other")
    assert cluster.started("n1").tunnel()["vtep-mac"] == mac


def test_a_port_is_not_shared_with_a_stranger(cluster: Cluster) -> None:
    cluster.started("n1")
    conf = cluster.directory / "other.json"
    conf.write_text('{"Network": "10.244.0.0/16", "Backend": {"Type": "vxlan", "VNI": 7}}')
    for entry in cluster.entries.values():
        entry.pop("backend-data", None)
    leases = cluster.directory / "leases7.json"
    leases.write_text(json.dumps({"leases": [cluster.entries["n1"]]}))
    flags = ("--run-dir", str(cluster.directory / "seven"), "--net-config-path", str(conf))
    second = cluster.start("n1", *flags, "--static-leases", str(leases))
    assert second.ended() == 1
    assert "UDP port 8472: the port is taken" in second.log
