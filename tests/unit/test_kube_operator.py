# SPDX-License-Identifier: Apache-2.0
"""What an operator writes into our own Node: addresses to publish, and to send from.

Excluded: what counts as an address (test_nodelease.py), which choice wins (test_station.py).
"""

import logging

import pytest

from tests.unit.in_family import said
from tests.unit.kube_member import EACH, UNDERLAY, Families, Member, member, of_each
from tests.unit.kube_server import Server, serving
from tests.unit.kube_support import PREFIX, node_in


def public_ips(ours: Member) -> set[str]:
    """What an operator has chosen."""
    return {str(one.public_ip) for one in ours.own}


def underlay_ips(ours: Member) -> set[str]:
    return {str(one.underlay_ip) for one in ours.own}


async def published(ours: Member, server: Server, address: str) -> None:
    """In each family."""
    wanted = {said(one, PREFIX + "public-ip"): said(one, address) for one in ours.families}
    await ours.until("published", lambda: server.annotations("n1").items() >= wanted.items())


@EACH
async def test_operators_choose_addresses_and_may_change_their_mind(
    caplog: pytest.LogCaptureFixture, families: Families
) -> None:
    chosen = node_in(families, 1, public_ip_overwrite="203.0.113.1", node_public_ip="192.168.7.1")
    async with serving(chosen) as server, member(server, families=families) as ours:
        assert public_ips(ours) == of_each(families, "203.0.113.1")
        assert underlay_ips(ours) == of_each(families, "192.168.7.1")
        ours.announce()
        await published(ours, server, "203.0.113.1")
        server.change("n1", families, public_ip_overwrite="203.0.113.2")
        await ours.until("changed", lambda: public_ips(ours) == of_each(families, "203.0.113.2"))
        with caplog.at_level(logging.INFO):
            server.change("n1", families, public_ip_overwrite="nonsense")
            await ours.until("ignored", lambda: public_ips(ours) == {"None"})
        assert "annotation-ignored" in caplog.text


@EACH
async def test_an_overwrite_is_said_in_flannels_words_when_it_is_published(
    caplog: pytest.LogCaptureFixture, families: Families
) -> None:
    caplog.set_level(logging.INFO)
    chosen = node_in(families, 1, public_ip_overwrite="203.0.113.1", public_ip=None)
    async with serving(chosen) as server, member(server, families=families) as ours:
        ours.announce()
        await ours.until("said", lambda: "lease-published" in caplog.text)
        (line,) = [text for text in caplog.messages if "lease-published" in text]
        for family in families:
            kind = "public ip" if family == 4 else "public ipv6"
            address = said(family, "203.0.113.1")
            key = said(family, PREFIX + "public-ip-overwrite")
            assert f"Overriding {kind} with '{address}' from node annotation '{key}'" in line
        caplog.clear()
        server.change("n1", families, public_ip_overwrite=None)
        await ours.until("gone", lambda: public_ips(ours) == {"None"})
        ours.announce()
        await published(ours, server, str(UNDERLAY[4]))
        await ours.until("said", lambda: "lease-published" in caplog.text)
        assert "Overriding" not in caplog.text


@EACH
async def test_an_overwrite_that_is_not_published_is_not_said_to_be(
    caplog: pytest.LogCaptureFixture, families: Families
) -> None:
    caplog.set_level(logging.INFO)
    bad = node_in(families, 1, public_ip_overwrite="gateway.example", public_ip=None)
    async with serving(bad) as server, member(server, families=families) as ours:
        ours.announce()
        await ours.until("said", lambda: "lease-published" in caplog.text)
        assert "Overriding" not in caplog.text


@EACH
async def test_a_node_public_ip_that_becomes_no_address_ends_nothing(
    caplog: pytest.LogCaptureFixture, families: Families
) -> None:
    """At the start it does (test_kube_subnet.py), as a bad --public-ip does."""
    chosen = node_in(families, 1, node_public_ip="192.168.7.1")
    async with serving(chosen) as server, member(server, families=families) as ours:
        ours.announce()
        server.change("n1", families, node_public_ip="gateway.example")
        await ours.until("said", lambda: ours.source.state().standing == "waiting")
        kind = "IP" if 4 in families else "IPv6"
        wanted = f"invalid public {kind} address: gateway.example (annotation node-public-ip)"
        assert ours.source.state().detail == wanted
        assert wanted in caplog.text
        assert "annotation-ignored" not in caplog.text
        server.nodes.put(node_in(families, 2))
        await ours.until("goes on", lambda: "n2" in ours.leases)
        assert underlay_ips(ours) == of_each(families, "192.168.7.1"), "the last good word holds"
        server.change("n1", families, node_public_ip="192.168.7.2")
        await ours.until("mended", lambda: ours.source.state().standing == "watching")
        await ours.until("new", lambda: underlay_ips(ours) == of_each(families, "192.168.7.2"))
