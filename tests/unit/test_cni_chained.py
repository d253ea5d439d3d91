# SPDX-License-Identifier: Apache-2.0
"""Plugins that others chain behind ours in the conflist, as service meshes do, stay there."""

import json
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from fwd.model import IPV4
from fwd.node import cleanup, cni, netlink, routetable, traces
from fwd.node.cni import Mode
from fwd.node.hostparts import Conflist
from fwd.node.subnetfile import SubnetEnv

CONF = {
    "name": "cbr0",
    "cniVersion": "0.3.1",
    "plugins": [{"type": "flannel"}, {"type": "portmap", "capabilities": {"portMappings": True}}],
}
MESH = {"type": "istio-cni", "log_level": "info", "kubernetes": {"cni_bin_dir": "/opt/cni/bin"}}
ENV = SubnetEnv(
    networks={IPV4: ip_network("10.244.0.0/16")},
    subnets={IPV4: ip_network("10.244.7.0/24")},
    mtu=1450,
    ip_masq=True,
)
NARROW = replace(ENV, mtu=1350)


class Node:
    """A conflist's directory, a run directory, and agents that start there."""

    def __init__(self, directory: Path, mode: Mode) -> None:
        self.run_dir = directory / "run"
        self.run_dir.mkdir()
        self.place = directory / "net.d"
        self.place.mkdir()
        self.path = self.place / cni.FILE_NAME
        self.source = directory / "cni-conf.json"
        self.mode = mode
        self.configure(CONF)

    def configure(self, conf: dict[str, Any]) -> None:
        self.source.write_text(json.dumps(conf))

    def agent(self) -> Conflist:
        return Conflist(cni.load(self.source, self.mode), self.place, run_dir=self.run_dir)

    def says(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.path.read_bytes())
        return document

    def types(self) -> list[str]:
        return [plugin["type"] for plugin in self.says()["plugins"]]

    def chain(self, *plugins: dict[str, Any]) -> bytes:
        """As a program in Go does it: it writes all of the file, with its keys in order."""
        document = self.says()
        document["plugins"] += plugins
        self.path.write_text(json.dumps(document, sort_keys=True, indent="  "))
        return self.path.read_bytes()


@pytest.fixture(params=Mode)
def node(tmp_path: Path, request: pytest.FixtureRequest) -> Node:
    return Node(tmp_path, request.param)


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine has nothing else of ours."""
    monkeypatch.setattr(netlink, "find_device", lambda _: None)
    monkeypatch.setattr(netlink, "find_devices", lambda _: [])
    monkeypatch.setattr(routetable, "held", lambda _: [])
    monkeypatch.setattr(cleanup._Remover, "rules", lambda _: None)


async def test_a_plugin_behind_ours_is_left_alone(node: Node) -> None:
    agent = node.agent()
    await agent.see_to(ENV)
    chained = node.chain(MESH, {"type": "linkerd-cni"})
    for one in (agent, node.agent()):
        assert await one.see_to(ENV) == ()
        assert node.path.read_bytes() == chained


@pytest.mark.parametrize("change", ["name", "cniVersion", "plugins"])
async def test_what_is_changed_of_ours_is_put_back(node: Node, change: str) -> None:
    agent = node.agent()
    await agent.see_to(ENV)
    right = node.path.read_bytes()
    node.chain(MESH)
    changed = {"name": "other", "cniVersion": "1.0.0", "plugins": [MESH, *node.says()["plugins"]]}
    node.path.write_text(json.dumps(node.says() | {change: changed[change]}))
    assert await agent.see_to(ENV) == (node.path,)
    assert node.path.read_bytes() == right


@pytest.mark.parametrize(
    "added",
    ["null", "{}", '{"type": ""}', '{"type": "x", "a": NaN}', '{"type": "x", "TYPE": "y"}'],
)
async def test_what_a_runtime_refuses_is_put_right(node: Node, added: str) -> None:
    await node.agent().see_to(ENV)
    right = node.path.read_bytes()
    node.path.write_text(json.dumps(node.says()).removesuffix("]}") + f", {added}]}}")
    assert await node.agent().see_to(ENV) == (node.path,)
    assert node.path.read_bytes() == right


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
async def test_it_is_utf_8_for_a_runtime(node: Node, encoding: str) -> None:
    await node.agent().see_to(ENV)
    right = node.path.read_bytes()
    node.path.write_text(right.decode(), encoding=encoding)
    assert await node.agent().see_to(ENV) == (node.path,)
    assert node.path.read_bytes() == right


async def test_a_second_one_of_ours_is_not_anothers(node: Node) -> None:
    await node.agent().see_to(ENV)
    types = node.types()
    node.chain({"type": "portmap", "snat": True}, MESH)
    assert await node.agent().see_to(ENV) == (node.path,)
    assert node.types() == [*types, "istio-cni"]
    assert await node.agent().see_to(ENV) == ()


async def test_a_file_that_was_removed_comes_without_what_was_chained(node: Node) -> None:
    agent = node.agent()
    await agent.see_to(ENV)
    right = node.path.read_bytes()
    node.chain(MESH)
    node.path.unlink()
    assert await agent.see_to(ENV) == (node.path,)
    assert node.path.read_bytes() == right


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"plugins": 7}', '{"plugins": []}', "[" * 9999])
async def test_what_is_no_list_gives_way(node: Node, text: str) -> None:
    node.path.write_text(text)
    assert await node.agent().see_to(ENV) == (node.path,)
    assert node.types()[1:] == ["portmap"]


@pytest.mark.parametrize("again", [False, True], ids=["running", "started again"])
async def test_it_stays_when_ours_changes(tmp_path: Path, *, again: bool) -> None:
    node = Node(tmp_path, Mode.RENDER)
    agent = node.agent()
    await agent.see_to(ENV)
    node.chain(MESH)
    agent = node.agent() if again else agent
    assert await agent.see_to(NARROW) == (node.path,)
    assert node.types() == ["bridge", "portmap", "istio-cni"]
    assert (node.says()["plugins"][0]["mtu"], node.says()["plugins"][-1]) == (1350, MESH)
    assert await agent.see_to(NARROW) == (), "it is as it should be"


async def test_a_plugin_that_was_ours_goes(node: Node) -> None:
    await node.agent().see_to(ENV)
    first = node.types()[0]
    node.chain(MESH)
    node.configure(CONF | {"plugins": [{"type": "flannel"}]})
    await node.agent().see_to(ENV)
    assert node.types() == [first, "istio-cni"]


async def test_a_plugin_that_was_ours_goes_though_the_file_was_found_right(node: Node) -> None:
    """As after a reboot, which takes the note and leaves the file."""
    await node.agent().see_to(ENV)
    first = node.types()[0]
    node.chain(MESH)
    (node.run_dir / traces.FILE_NAME).unlink()
    assert await node.agent().see_to(ENV) == ()
    node.configure(CONF | {"plugins": [{"type": "flannel"}]})
    await node.agent().see_to(ENV)
    assert node.types() == [first, "istio-cni"]


async def test_it_stays_when_fwd_comes_after_flannel(node: Node) -> None:
    node.path.write_bytes(node.source.read_bytes())
    node.chain(MESH)
    await node.agent().see_to(ENV)
    assert node.types()[1:] == ["portmap", "istio-cni"]


@pytest.mark.usefixtures("bare")
async def test_cleanup_knows_ours_in_another_form_and_leaves_anothers_plugin(node: Node) -> None:
    await node.agent().see_to(ENV)
    node.chain(MESH)
    left = f"left: {node.path}, which is not as we wrote it"
    assert left in cleanup.clean_up(node.run_dir, dry_run=True).lines
    node.path.write_text(json.dumps(node.says() | {"plugins": node.says()["plugins"][:-1]}))
    assert f"file {node.path}" in cleanup.clean_up(node.run_dir, dry_run=True).lines
