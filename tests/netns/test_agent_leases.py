# SPDX-License-Identifier: Apache-2.0
"""`fwd run --static-leases` and its file: broken, changed, contradicting itself, and drops told.

Excluded: what may stand in the file (tests/unit/test_static.py, test_leases.py).
"""

import ctypes
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_network
from pathlib import Path

import pytest

from tests.netns.agent_support import EACH_FAMILY, Agent, Cluster, key, wait_for
from tests.netns.sockets import af_of
from tests.unit.in_family import said

pytestmark = [pytest.mark.netns, pytest.mark.root, EACH_FAMILY]

PUBLIC_IP = {4: "--public-ip", 6: "--public-ipv6"}
OUTSIDE = {4: "203.0.113.1", 6: "2001:db8::1"}
V6 = {4: "", 6: "v6 "}
"""In flannel's words of an error."""
IN_CLOSE_NOWRITE = 0x10


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        (
            "subnet",
            "10.244.1.0/25",
            "subnets 10.244.1.0/24 of node n1 and 10.244.1.0/25 of node n2",
        ),
        ("subnet", 7, "entry 2: Expected `str`, got `int` - at `$.subnet`"),
        ("backend-data", {"VtepMAC": "00:00:00:00:00:00"}, "entry 2 (node n2): backend-data: "),
    ],
)
def test_a_broken_file_at_start_is_one_line_and_exit_1(
    cluster: Cluster, family: int, field: str, value: object, text: str
) -> None:
    cluster.lease("n2")[field] = said(family, value)
    cluster.write()
    agent = cluster.start("n1")
    assert agent.ended() == 1
    last = agent.log.splitlines()[-1]
    assert last.startswith(f"fwd run: {cluster.leases}: ")
    assert said(family, text) in last
    assert "Traceback" not in agent.log
    assert not cluster.n1.show("link", "show", cluster.facts.device), "nothing was touched"


def test_a_broken_change_keeps_the_last_good_table(cluster: Cluster) -> None:
    good = cluster.directory / "good.json"
    good.write_text(cluster.leases.read_text())
    cluster.started("n2", "--static-leases", str(good))
    first = cluster.started("n1")
    own, peer = key("n1", cluster.facts.family), cluster.lease("n2")
    n1 = cluster.entries[own]
    cluster.write_text('{"leases": [')
    first.says("leases-refused")
    assert cluster.reaches(cluster.n1, "n2")
    trouble = first.status()["trouble"]
    assert trouble.startswith(f"{cluster.leases}: ")
    again = cluster.directory / "again.json"  # which says the same, and is another file
    again.write_text('{"leases": [ ')
    with being_read(again) as is_read:
        again.rename(cluster.leases)
        wait_for("another look", is_read)
    assert first.status()["trouble"] == trouble
    peer["subnet"] = cluster.facts.subnet("n1")
    cluster.write()
    assert "overlap" in first.says("leases-refused", times=2)
    assert cluster.reaches(cluster.n1, "n2")
    del cluster.entries[own]
    peer["subnet"] = cluster.facts.subnet("n2")
    cluster.write()
    assert "node n1 has no entry" in first.says("leases-refused", times=3)
    cluster.leases.unlink()
    first.says("leases-refused", times=4)
    assert cluster.reaches(cluster.n1, "n2")
    cluster.entries[own] = n1
    cluster.write()
    first.says("leases-good-again")
    assert first.status()["trouble"] is None
    assert len(first.lines("leases-refused")) == 4, "each is said once"


@contextmanager
def being_read(path: Path) -> Iterator[Callable[[], bool]]:
    """Whether somebody has read a file since, wherever it has been renamed to meanwhile."""
    libc = ctypes.CDLL(None, use_errno=True)
    handle = libc.inotify_init1(os.O_NONBLOCK)
    assert libc.inotify_add_watch(handle, os.fsencode(path), IN_CLOSE_NOWRITE) >= 0

    def is_read() -> bool:
        with suppress(BlockingIOError):
            return bool(os.read(handle, 4096))
        return False

    try:
        yield is_read
    finally:
        os.close(handle)


def test_a_changed_file_is_in_force_at_once(pair: tuple[Cluster, Agent, Agent]) -> None:
    cluster, first, second = pair
    name = key("n2", cluster.facts.family)
    n2 = cluster.entries.pop(name)
    cluster.write()
    assert "removed=1" in first.says("leases")
    second.says("leases-refused")
    assert not cluster.reaches(cluster.n1, "n2")
    cluster.entries[name] = n2
    cluster.write()
    assert "added=1" in first.says("leases", times=2)
    assert cluster.reaches(cluster.n1, "n2")


def test_an_own_lease_that_changed_is_a_new_set_up(pair: tuple[Cluster, Agent, Agent]) -> None:
    cluster, first, second = pair
    facts, lease = cluster.facts, cluster.lease("n1")
    lease["subnet"] = facts.subnet("n7")
    lease["backend-data"]["VtepMAC"] = "02:00:00:00:00:77"
    cluster.write()
    first.says("own-lease-changed")
    first.says("tunnel-restored")
    assert "changed=1" in second.says("leases")
    gateway = ip_network(facts.subnet("n7"))[1]
    wait_for("subnet.env", lambda: f"={gateway}/" in _subnet_env(first))
    (device,) = cluster.n1.show("address", "show", "dev", facts.device)
    assert facts.tunnel_ip("n7") in [one["local"] for one in device["addr_info"]]
    assert cluster.reaches(cluster.n1, "n2")
    assert cluster.reaches(cluster.n2, "n7")


def _subnet_env(agent: Agent) -> str:
    return (agent.run_dir / "subnet.env").read_text()


def test_a_drop_is_told_with_its_reason(pair: tuple[Cluster, Agent, Agent]) -> None:
    cluster, first, _ = pair
    there = cluster.facts.underlay("n1")
    send = f"import socket; s = socket.socket({af_of(there):d}, socket.SOCK_DGRAM)"
    send += f"; s.sendto(b'x', ('{there}', 8472))"
    assert cluster.n2.run(sys.executable, "-c", send).returncode == 0
    line = first.says("drops")
    assert "reason=in_too_short count=1 total=1" in line
    (drop,) = first.tunnel(cluster.facts.family)["drops"]
    assert (drop["reason"], drop["count"]) == ("in_too_short", 1)


@pytest.mark.parametrize(
    "flags",
    [
        (),
        ("--iface=none", "--iface=10.9.9.9", "--iface={address}"),
        ("{flag}={address}",),
    ],
)
def test_the_underlay_is_found(cluster: Cluster, family: int, flags: tuple[str, ...]) -> None:
    address, flag = cluster.facts.underlay("n1"), PUBLIC_IP[family]
    line = cluster.start("n1", *(one.format(address=address, flag=flag) for one in flags))
    assert f"interface=u1 address={address}" in line.says("forwarding")


def test_behind_nat_the_underlay_is_that_of_the_default_route(cluster: Cluster) -> None:
    facts, outside = cluster.facts, OUTSIDE[cluster.facts.family]
    cluster.lease("n1")["public-ip"] = outside
    cluster.write()
    agent = cluster.start("n1")
    assert agent.ended() == 1
    assert f"unable to find default {V6[facts.family]}route" in agent.log.splitlines()[-1]
    gateway = facts.underlay("n2")
    cluster.n1.ip(f"-{facts.family}", "route", "add", "default", "via", gateway, "dev", "u1")
    line = cluster.start("n1").says("forwarding")
    assert f"public-ip={outside} " in line
    assert f" interface=u1 address={facts.underlay('n1')} " in line


def test_an_address_of_another_interface_is_received_at_and_sent_from(cluster: Cluster) -> None:
    """On the loopback interface, say, as routing protocols tell of it."""
    facts, outside = cluster.facts, OUTSIDE[cluster.facts.family]
    family = f"-{facts.family}"
    cluster.n1.ip("address", "add", f"{outside}/{facts.host}", "dev", "lo")
    cluster.n2.ip(family, "route", "add", outside, "via", facts.underlay("n1"))
    cluster.lease("n1")["public-ip"] = outside
    cluster.write()
    agent = cluster.started("n1", "--iface", "u1")
    cluster.started("n2")
    wait_for("packets", lambda: cluster.reaches(cluster.n1, "n2"))
    assert f"interface=u1 address={outside} underlay-mtu=1500 " in agent.says("forwarding")
    (link,) = cluster.n1.show("link", "show", facts.device)
    assert link["mtu"] == facts.mtu
    cluster.n1.ip("address", "del", f"{outside}/{facts.host}", "dev", "lo")
    assert "peers send there" in agent.says("underlay-lost")
    cluster.n1.ip("address", "add", f"{outside}/{facts.host}", "dev", "u1")
    wait_for("packets again", lambda: cluster.reaches(cluster.n2, "n1"))
    assert not agent.lines("underlay-changed")


@pytest.mark.parametrize(
    ("flag", "text"),
    [
        ("--iface=none", "Failed to find interface to use that matches the interfaces and/or"),
        ("--iface=lo2", "failed to find IPv{0} address for interface lo2"),
        ("{1}={2}", "error looking up {3}interface {2}: no interface with given IP"),
    ],
)
def test_an_underlay_that_is_not_there_is_one_line(
    cluster: Cluster, family: int, flag: str, text: str
) -> None:
    words = family, PUBLIC_IP[family], OUTSIDE[family], V6[family]
    cluster.n1.ip("link", "add", "lo2", "type", "bridge")
    agent = cluster.start("n1", flag.format(*words))
    assert agent.ended() == 1
    last = agent.log.splitlines()[-1]
    assert text.format(*words) in last
    assert str(cluster.leases) not in last, "it is not the file's fault"
