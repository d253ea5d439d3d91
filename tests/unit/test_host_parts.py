# SPDX-License-Identifier: Apache-2.0
"""What a change of subnet.env is said to mean for the Pods that are there."""

import logging
from ipaddress import ip_network
from pathlib import Path

import pytest

from fwd.model import Network
from fwd.node import subnetfile
from fwd.node.hostparts import SubnetFile
from fwd.node.subnetfile import SubnetEnv

FOUR, OTHER_FOUR = ip_network("10.244.1.0/24"), ip_network("10.244.9.0/24")
SIX, OTHER_SIX = ip_network("fd00:1::/64"), ip_network("fd00:9::/64")
NETWORKS = {4: ip_network("10.244.0.0/16"), 6: ip_network("fd00::/16")}


def env(*subnets: Network) -> SubnetEnv:
    by_family: dict[int, Network] = {subnet.version: subnet for subnet in subnets}
    networks: dict[int, Network] = {family: NETWORKS[family] for family in by_family}
    return SubnetEnv(networks=networks, subnets=by_family, mtu=1450)


@pytest.mark.parametrize(
    ("before", "now", "is_told"),
    [
        ((FOUR,), (FOUR, SIX), False),
        ((FOUR, SIX), (SIX,), False),
        ((FOUR,), (SIX,), False),
        ((FOUR,), (OTHER_FOUR,), True),
        ((FOUR, SIX), (FOUR, OTHER_SIX), True),
        ((FOUR,), (OTHER_FOUR, SIX), True),
    ],
)
async def test_pods_must_go_only_when_their_subnet_has(
    before: tuple[Network, ...],
    now: tuple[Network, ...],
    is_told: bool,  # noqa: FBT001 - a row of the table
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = tmp_path / "subnet.env"
    subnetfile.write(path, env(*before))
    with caplog.at_level(logging.INFO, "fwd"):
        assert await SubnetFile(path).see_to(env(*now)) == (path,)
    assert [text.partition(" ")[0] for text in caplog.messages] == [
        "event=subnet-changed"
    ] * is_told
