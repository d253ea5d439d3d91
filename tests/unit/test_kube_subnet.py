# SPDX-License-Identifier: Apache-2.0
"""The subnet of our own Node, waited for at the start, and what is said meanwhile.

Excluded: which subnets can be (test_nodelease.py).
"""

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from fwd.lab.apiserver.access import FLANNEL, TOKEN
from fwd.model import ConfigError
from fwd.sources.kubeclient import ApiAccess
from tests.unit.in_family import EACH_FAMILY, said
from tests.unit.kube_access import kubeconfig
from tests.unit.kube_member import EACH, Families, of_each, source, until
from tests.unit.kube_server import serving
from tests.unit.kube_support import node_in, node_object


@EACH
async def test_a_subnet_that_is_not_assigned_is_waited_for(
    caplog: pytest.LogCaptureFixture, families: Families
) -> None:
    bare = node_in(families, 1, cidr="")
    with caplog.at_level(logging.INFO):
        async with serving(bare) as server, source(server, families=families) as made:
            first = asyncio.create_task(made.first())
            await until(lambda: made.state().standing == "waiting")
            assert made.state().detail == 'node "n1" pod cidr not assigned'
            server.nodes.put(node_in(families, 2))
            await until(lambda: len(made._table) == 2)  # and then it looks at its own again
            server.nodes.put(node_in(families, 1))
            snapshot = await asyncio.wait_for(first, 5)
            subnets = {str(one.subnet) for one in snapshot.own}
            assert subnets == of_each(families, "10.244.1.0/24")
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


@EACH
async def test_a_node_that_is_not_there_yet_is_waited_for(families: Families) -> None:
    other = node_in(families, 2)
    async with serving(other) as server, source(server, families=families) as made:
        first = asyncio.create_task(made.first())
        await until(lambda: made.state().standing == "waiting")
        assert made.state().detail == 'node "n1" is not in the cluster'
        server.nodes.put(node_in(families, 1))
        assert (await asyncio.wait_for(first, 5)).own[0].node == "n1"


async def test_a_node_that_cannot_be_read_is_waited_for_by_that_name() -> None:
    garbled = node_object(1)
    garbled["spec"]["podCIDR"] = 7
    async with serving(garbled) as server, source(server) as made:
        first = asyncio.create_task(made.first())
        await until(lambda: made.state().standing == "waiting")
        assert made.state().detail.startswith("node n1: Expected `str`, got `int`")
        server.nodes.put(node_object(1))
        assert (await asyncio.wait_for(first, 5)).own[0].node == "n1"


async def test_a_kubeconfig_that_is_half_written_does_not_end_the_wait(tmp_path: Path) -> None:
    """It was good, so it will be."""
    async with serving(node_object(1, cidr="")) as server:
        path = kubeconfig(tmp_path, server.url, token=TOKEN)
        async with source(server, access=ApiAccess(kubeconfig=path)) as made:
            first = asyncio.create_task(made.first())
            await until(lambda: made.state().standing == "waiting")
            await server.stop()
            path.write_text("{")
            server.access.rotate("second", user=FLANNEL)
            await server.start()
            await until(lambda: str(path) in made.state().detail)
            kubeconfig(tmp_path, server.url, token="second")
            server.nodes.put(node_object(1))
            assert (await asyncio.wait_for(first, 10)).own[0].node == "n1"


@EACH_FAMILY
async def test_a_node_public_ip_that_is_no_address_ends_the_start_like_the_flag(
    family: int,
) -> None:
    bad = node_in((family,), 1, node_public_ip="gateway.example", cidr="")
    async with serving(bad) as server, source(server, families=(family,)) as made:
        with pytest.raises(ConfigError, match=r"^invalid public IP(v6)? address: gateway\.example"):
            await asyncio.wait_for(made.first(), 5)


@EACH_FAMILY
@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"podCIDRs": ["10.245.1.0/24"]}, "doesn't contain"),
        ({"podCIDRs": ["10.244.1.0/24", "10.244.2.0/24", "fd00::/64"]}, "or dualstack"),
    ],
)
async def test_a_subnet_that_cannot_be_is_an_error_at_start(
    family: int, spec: dict[str, Any], says: str
) -> None:
    bad = said(family, node_object(1, spec=spec))
    async with serving(bad) as server, source(server, families=(family,)) as made:
        with pytest.raises(ConfigError, match=says):
            await asyncio.wait_for(made.first(), 5)
