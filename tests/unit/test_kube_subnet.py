# SPDX-License-Identifier: Apache-2.0
"""The subnet of our own Node, waited for at the start.

Excluded: which subnets can be (test_nodelease.py).
"""

import asyncio
import logging
from ipaddress import ip_network
from typing import Any

import pytest

from fwd.model import ConfigError
from tests.unit.kube_member import source, until
from tests.unit.kube_server import serving
from tests.unit.kube_support import node_object


async def test_a_subnet_that_is_not_assigned_is_waited_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO):
        async with serving(node_object(1, cidr="")) as server, source(server) as made:
            first = asyncio.create_task(made.first())
            await until(lambda: made.state().standing == "waiting")
            assert made.state().detail == 'node "n1" pod cidr not assigned'
            server.nodes.put(node_object(1))
            snapshot = await asyncio.wait_for(first, 5)
            assert snapshot.own[0].subnet == ip_network("10.244.1.0/24")
            assert made.state().standing == "watching"
    assert caplog.text.count("pod cidr not assigned") == 1


async def test_with_both_families_on_a_subnet_of_each_is_waited_for() -> None:
    families = (4, 6)
    async with serving(node_object(1)) as server, source(server, families=families) as made:
        first = asyncio.create_task(made.first())
        await until(lambda: made.state().standing == "waiting")
        assert made.state().detail == 'node "n1" pod cidr not assigned for IPv6'
        server.nodes.put(node_object(1, families=families))
        snapshot = await asyncio.wait_for(first, 5)
        assert [one.subnet.version for one in snapshot.own] == [4, 6]


async def test_a_node_that_is_not_there_yet_is_waited_for() -> None:
    async with serving(node_object(2)) as server, source(server) as made:
        first = asyncio.create_task(made.first())
        await until(lambda: made.state().standing == "waiting")
        server.nodes.put(node_object(1))
        assert (await asyncio.wait_for(first, 5)).own[0].node == "n1"


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"podCIDRs": ["10.245.1.0/24"]}, "doesn't contain"),
        ({"podCIDRs": ["10.244.1.0/24", "10.244.2.0/24", "fd00::/64"]}, "or dualstack"),
    ],
)
async def test_a_subnet_that_cannot_be_is_an_error_at_start(
    spec: dict[str, Any], says: str
) -> None:
    async with serving(node_object(1, spec=spec)) as server, source(server) as made:
        with pytest.raises(ConfigError, match=says):
            await asyncio.wait_for(made.first(), 5)
