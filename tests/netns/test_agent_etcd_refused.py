# SPDX-License-Identifier: Apache-2.0
"""What is refused before an agent with leases from etcd takes a key."""

from collections.abc import Iterator
from ipaddress import ip_interface
from pathlib import Path

import pytest

from tests.netns.agent_support import EACH_FAMILY
from tests.netns.etcd_cluster import EtcdCluster, running

pytestmark = [pytest.mark.netns, pytest.mark.root]


@pytest.fixture
def cluster(tmp_path: Path, families: tuple[int, ...]) -> Iterator[EtcdCluster]:
    with running(tmp_path, families=families) as made:
        yield made


@EACH_FAMILY
@pytest.mark.parametrize("is_given", [False, True])
def test_an_address_inside_the_network_takes_no_subnet(
    cluster: EtcdCluster,
    is_given: bool,  # noqa: FBT001 - a row of the table
) -> None:
    """No peer could send there: the network leads into the tunnel."""
    facts = cluster.facts
    at = facts.underlay("n1")
    network = ip_interface(f"{at}/{16 if facts.family == 4 else 48}").network
    cluster.etcd.configure(cluster.conf | {facts.network_key: str(network)})
    flag = {4: "--public-ip", 6: "--public-ipv6"}[facts.family]
    agent = cluster.start("n1", *(flag, at) if is_given else ())
    assert agent.ended() == 1
    assert not cluster.etcd.leases()
    assert agent.log.splitlines()[-1] == (
        f"fwd run: public-ip {at} is inside the network {network}: tunnels would loop "
        "(give --iface with another, or choose another network)"
    )
