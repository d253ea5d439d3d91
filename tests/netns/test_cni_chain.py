# SPDX-License-Identifier: Apache-2.0
"""A rendered list on one node: ADD, CHECK and DEL, each family and both, and what a change does.

No agent and no other node: a node, two sandboxes and a host outside.
"""

import json
import shutil
import subprocess
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from fwd.core import cniconf
from fwd.lab import netns, steps
from fwd.lab.cni import PluginError, Runtime, Sandbox
from fwd.model import IPV4, IPV6
from fwd.node import cni
from fwd.node.cni import CniConf
from fwd.node.subnetfile import SubnetEnv
from tests.netns.agent_support import EACH_FAMILY
from tests.netns.cni_lab import HOST_PORT, asked_from, server_in, unanswered
from tests.netns.cni_support import SEED, host_port, require_plugins, shown
from tests.netns.names import own

pytestmark = [pytest.mark.netns, pytest.mark.root]

NODE, OUT = own("ct-chain"), own("ct-chain-out")
SANDBOXES = (own("ct-chain-p1"), own("ct-chain-p2"))
ADDRESSES = {4: ("192.168.51.1", "192.168.51.2"), 6: ("fd00:51::1", "fd00:51::2")}
"""Of the node, and of the host outside."""
LINK = {4: "24", 6: "64 nodad"}
PROGRAM = {4: "iptables", 6: "ip6tables"}
ENV = SubnetEnv(
    networks={IPV4: ip_network("10.244.0.0/16"), IPV6: ip_network("fd00:10:244::/48")},
    subnets={IPV4: ip_network("10.244.9.0/24"), IPV6: ip_network("fd00:10:244:9::/64")},
    mtu=1450,
    ip_masq=True,
)
ONLY = {
    family: structs.replace(
        ENV, networks={family: ENV.networks[family]}, subnets={family: ENV.subnets[family]}
    )
    for family in (IPV4, IPV6)
}
"""The same with one of them."""


class Place:
    """The node's files and its runtime; lists are of one family unless a test says otherwise."""

    def __init__(self, directory: Path, family: int) -> None:
        self.family = family
        self.env = ONLY[family]
        self.address, self.outside = ADDRESSES[family]
        self.directory = directory / "net.d"
        self.directory.mkdir()
        self.runtime = Runtime(
            NODE, conflist=self.directory / cni.FILE_NAME, var_lib=directory / "var-lib"
        )

    def render(self, env: SubnetEnv | None = None, **head: Any) -> None:  # noqa: ANN401 - JSON
        """The seed's file, with other keys of the list, as the agent places it."""
        text = json.dumps(json.loads(SEED) | head).encode()
        cni.place(self.directory, CniConf(text, cniconf.parse(text)).content(env or self.env))

    @property
    def first(self) -> str:
        """The address that host-local gives to the first Pod."""
        return str(self.env.subnets[self.family][2])

    def rules(self) -> list[str]:
        """The node's rules, without counters and comments."""
        argv = netns.inside(NODE, f"{PROGRAM[self.family]}-save")
        done = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=True)
        return [line for line in done.stdout.splitlines() if line.startswith("-A")]


@pytest.fixture
def place(tmp_path: Path, family: int) -> Iterator[Place]:
    require_plugins()
    names = (NODE, OUT, *SANDBOXES)
    netns.delete([name for name in names if netns.path(name).exists()])
    try:
        netns.create(names)
        for name in names:
            # Nobody else can have an address, and asking takes the plugins a second each time.
            netns.apply(
                name,
                [steps.sysctl("net/ipv6/conf/default/accept_dad", 0), steps.ip("link set lo up")],
            )
        netns.apply(OUT, [steps.ip(f"link add eth0 type veth peer name eth0 netns {NODE}")])
        for name, address in zip((NODE, OUT), ADDRESSES[family], strict=True):
            give = f"addr add dev eth0 {address}/{LINK[family]}"
            netns.apply(name, [steps.ip(line) for line in (give, "link set eth0 up")])
        yield Place(tmp_path, family)
    finally:
        netns.delete([name for name in names if netns.path(name).exists()])


def pod(number: int) -> Sandbox:
    return Sandbox(f"pod{number}", netns.path(SANDBOXES[number]), host_port(HOST_PORT + number))


def plain_pod(number: int) -> Sandbox:
    return structs.replace(pod(number), args={})


def shadow(place: Place, program: Path, script: str) -> None:
    """Puts a script of ours before a program of this name, for the plugins."""
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    place.runtime.path = f"{program.parent}:{place.runtime.path}"


@EACH_FAMILY
@pytest.mark.parametrize("version", ["0.4.0", "1.0.0"])
def test_check_holds_after_add_and_fails_when_something_is_gone(place: Place, version: str) -> None:
    place.render(cniVersion=version)
    place.runtime.validate()
    place.runtime.add(plain_pod(0))
    place.runtime.check(plain_pod(0))
    netns.apply(SANDBOXES[0], [steps.ip(f"route del {place.env.networks[place.family]}")])
    with pytest.raises(PluginError, match="bridge CHECK"):
        place.runtime.check(plain_pod(0))
    place.runtime.delete(plain_pod(0))


@EACH_FAMILY
def test_check_sees_a_host_ports_rule_that_is_gone(place: Place, tmp_path: Path) -> None:
    # Where the other family's program works, portmap's CHECK wants rules there also for a Pod
    # without an address of it, and fails (plugins 1.1.1, Debian 12's); so here it does not work.
    shadow(place, tmp_path / PROGRAM[IPV4 + IPV6 - place.family], "exit 3")
    place.render(cniVersion="1.0.0")
    place.runtime.add(pod(0))
    place.runtime.check(pod(0))
    flush = netns.inside(NODE, PROGRAM[place.family], "-w", "-t", "nat", "-F", "CNI-HOSTPORT-DNAT")
    subprocess.run(flush, timeout=10, check=True)
    with pytest.raises(PluginError, match="portmap CHECK"):
        place.runtime.check(pod(0))


@EACH_FAMILY
@pytest.mark.parametrize("version", ["0.3.1", "0.4.0", "1.0.0"])
def test_del_gives_all_back(place: Place, version: str) -> None:
    place.render(cniVersion=version)
    place.runtime.add(pod(1))
    before = place.rules()
    place.runtime.add(pod(0))
    assert any(f"--dport {HOST_PORT} " in rule for rule in place.rules())
    with server_in(SANDBOXES[0], place.family) as server:
        assert asked_from(OUT, place.address, server) == place.outside
    place.runtime.delete(pod(0))
    assert place.runtime.addresses() == [place.first], "the other Pod's"
    assert place.rules() == before, "the other Pod's"
    assert [link["ifname"] for link in shown(SANDBOXES[0], "link")] == ["lo"]
    assert len(shown(NODE, "link", "show", "master", "cni0")) == 1
    unanswered(OUT, place.address)
    place.runtime.delete(pod(0))  # CNI: once more is no error
    place.runtime.delete(pod(1))
    assert place.runtime.addresses() == []


@EACH_FAMILY
def test_a_list_without_a_version_runs(place: Place) -> None:
    assert "cniVersion" not in SEED
    place.render()
    place.runtime.validate()
    assert place.runtime.add(pod(0))["cniVersion"] == "0.3.1"


def test_two_families_give_a_pod_two_addresses_and_two_ways_out(place: Place) -> None:
    place.render(ENV, cniVersion="1.0.0")
    result = place.runtime.add(plain_pod(0))
    assert [(one["address"], one["gateway"]) for one in result["ips"]] == [
        ("10.244.9.2/24", "10.244.9.1"),
        ("fd00:10:244:9::2/64", "fd00:10:244:9::1"),
    ]
    place.runtime.check(plain_pod(0))
    for family, gateway in (("-4", "10.244.9.1"), ("-6", "fd00:10:244:9::1")):
        argv = netns.inside(SANDBOXES[0], "ping", "-q", "-c", "2", "-i", "0.1", "-W", "2", gateway)
        assert subprocess.run(argv, capture_output=True, timeout=20, check=False).returncode == 0
        routes = shown(SANDBOXES[0], family, "route")
        ways = {one["dst"]: one["gateway"] for one in routes if "gateway" in one}
        version = int(family.removeprefix("-"))
        assert ways == {"default": gateway, str(ENV.networks[version]): gateway}
    place.runtime.delete(plain_pod(0))
    assert place.runtime.addresses() == []


@EACH_FAMILY
def test_a_new_mtu_is_for_pods_that_start_after_it(place: Place) -> None:
    place.render()
    place.runtime.add(pod(0))
    place.render(structs.replace(place.env, mtu=1350))
    place.runtime.add(pod(1))
    mtus = [shown(one, "link", "show", "eth0")[0]["mtu"] for one in SANDBOXES]
    assert mtus == [1450, 1350]


@EACH_FAMILY
def test_without_the_agents_masquerade_the_bridge_does_it(place: Place) -> None:
    place.render()
    place.runtime.add(pod(0))
    masquerade = "-j MASQUERADE"
    assert [rule for rule in place.rules() if masquerade in rule and "HOSTPORT" not in rule] == []
    place.runtime.delete(pod(0))
    place.render(structs.replace(place.env, ip_masq=False))
    place.runtime.add(pod(0))
    with server_in(OUT, place.family) as server:
        assert asked_from(SANDBOXES[0], place.outside, server) == place.address
    place.runtime.delete(pod(0))
    assert [rule for rule in place.rules() if masquerade in rule and "HOSTPORT" not in rule] == []


@EACH_FAMILY
def test_an_add_that_fails_halfway_leaves_nothing(place: Place, tmp_path: Path) -> None:
    name = PROGRAM[place.family]
    program = shutil.which(name, path=place.runtime.path)
    refuse = f'case "$*" in *--dport*) exit 2 ;; esac; exec {program} "$@"'
    shadow(place, tmp_path / name, refuse)
    place.render()
    with pytest.raises(PluginError, match="portmap ADD"):
        place.runtime.add(pod(0))
    assert place.runtime.addresses() == []
    assert [link["ifname"] for link in shown(SANDBOXES[0], "link")] == ["lo"]
    assert not any(str(HOST_PORT) in rule for rule in place.rules())


@EACH_FAMILY
def test_nothing_of_it_is_in_the_machines_own_files(place: Place) -> None:
    def files() -> list[Path]:
        return sorted(Path("/var/lib/cni").rglob("*"))

    before = files()
    place.render()
    place.runtime.add(pod(0))
    assert place.runtime.addresses() == [place.first]
    assert files() == before
