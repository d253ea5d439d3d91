# SPDX-License-Identifier: Apache-2.0
"""`fwd run --static-leases` and its file: broken, changed, contradicting itself, and drops told.

Excluded: what may stand in the file (tests/unit/test_static.py, test_leases.py).
"""

import sys

import pytest

from tests.netns.agent_support import Agent, Cluster, wait_for

pytestmark = [pytest.mark.netns, pytest.mark.root]

DEVICE = "flannel.1"


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        (
            "subnet",
            "10.244.1.0/25",
            "subnets 10.244.1.0/24 of node n1 and 10.244.1.0/25 of node n2",
        ),
        ("subnet", "10.245.2.0/24", "node n2: subnet 10.245.2.0/24 is outside the network"),
        ("subnet", 7, "entry 2: Expected `str`, got `int` - at `$.subnet`"),
        ("public-ip", "192.168.50.1", "nodes n1 and n2 have one public-ip, 192.168.50.1"),
        ("backend-data", {"VtepMAC": "02:00:00:00:00:01"}, "nodes n1 and n2 have one VtepMAC"),
        ("backend-data", {"VtepMAC": "00:00:00:00:00:00"}, "entry 2 (node n2): backend-data: "),
    ],
)
def test_a_broken_file_at_start_is_one_line_and_exit_1(
    cluster: Cluster, field: str, value: object, text: str
) -> None:
    cluster.entries["n2"][field] = value
    cluster.write()
    agent = cluster.start("n1")
    assert agent.ended() == 1
    last = agent.log.splitlines()[-1]
    assert last.startswith(f"fwd run: {cluster.leases}: ")
    assert text in last
    assert "Traceback" not in agent.log
    assert not cluster.n1.show("link", "show", DEVICE), "nothing was touched"


def test_a_broken_change_keeps_the_last_good_table(cluster: Cluster) -> None:
    good = cluster.directory / "good.json"
    good.write_text(cluster.leases.read_text())
    cluster.started("n2", "--static-leases", str(good))
    first = cluster.started("n1")
    n1 = cluster.entries["n1"]
    cluster.write_text('{"leases": [')
    first.says("leases-refused")
    assert cluster.n1.pings("10.244.2.0")
    assert first.status()["trouble"].startswith(f"{cluster.leases}: ")
    cluster.entries["n2"]["subnet"] = "10.244.1.0/24"
    cluster.write()
    assert "overlap" in first.says("leases-refused", times=2)
    assert cluster.n1.pings("10.244.2.0")
    del cluster.entries["n1"]
    cluster.entries["n2"]["subnet"] = "10.244.2.0/24"
    cluster.write()
    assert "node n1 has no entry" in first.says("leases-refused", times=3)
    cluster.leases.unlink()
    first.says("leases-refused", times=4)
    assert cluster.n1.pings("10.244.2.0")
    cluster.entries["n1"] = n1
    cluster.write()
    first.says("leases-good-again")
    assert first.status()["trouble"] is None
    assert len(first.lines("leases-refused")) == 4, "each is said once"


def test_a_changed_file_is_in_force_at_once(pair: tuple[Cluster, Agent, Agent]) -> None:
    cluster, first, second = pair
    n2 = cluster.entries.pop("n2")
    cluster.write()
    assert "removed=1" in first.says("leases")
    second.says("leases-refused")
    assert not cluster.n1.pings("10.244.2.0")
    cluster.entries["n2"] = n2
    cluster.write()
    assert "added=1" in first.says("leases", times=2)
    assert cluster.n1.pings("10.244.2.0")


def test_an_own_lease_that_changed_is_a_new_set_up(pair: tuple[Cluster, Agent, Agent]) -> None:
    cluster, first, second = pair
    cluster.entries["n1"]["subnet"] = "10.244.7.0/24"
    cluster.entries["n1"]["backend-data"]["VtepMAC"] = "02:00:00:00:00:77"
    cluster.write()
    first.says("own-lease-changed")
    first.says("tunnel-restored")
    assert "changed=1" in second.says("leases")
    wait_for("subnet.env", lambda: "10.244.7.1/24" in _subnet_env(first))
    assert (
        cluster.n1.show("address", "show", "dev", DEVICE)[0]["addr_info"][0]["local"]
        == "10.244.7.0"
    )
    assert cluster.n1.pings("10.244.2.0")
    assert cluster.n2.pings("10.244.7.0")


def _subnet_env(agent: Agent) -> str:
    return (agent.run_dir / "subnet.env").read_text()


def test_a_drop_is_told_with_its_reason(pair: tuple[Cluster, Agent, Agent]) -> None:
    cluster, first, _ = pair
    send = "import socket; s = socket.socket(2, 2); s.sendto(b'x', ('192.168.50.1', 8472))"
    assert cluster.n2.run(sys.executable, "-c", send).returncode == 0
    line = first.says("drops")
    assert "reason=in_too_short count=1 total=1" in line
    (drop,) = first.tunnel()["drops"]
    assert (drop["reason"], drop["count"]) == ("in_too_short", 1)


@pytest.mark.parametrize(
    "flags",
    [
        (),
        ("--iface=u1",),
        ("--iface=192.168.50.1",),
        ("--iface=none", "--iface=10.9.9.9", "--iface=u1"),
        ("--public-ip=192.168.50.1",),
    ],
)
def test_the_underlay_is_found(cluster: Cluster, flags: tuple[str, ...]) -> None:
    line = cluster.start("n1", *flags).says("underlay")
    assert "interface=u1 address=192.168.50.1" in line


def test_behind_nat_the_underlay_is_that_of_the_default_route(cluster: Cluster) -> None:
    cluster.entries["n1"]["public-ip"] = "203.0.113.1"
    cluster.write()
    agent = cluster.start("n1")
    assert agent.ended() == 1
    assert "unable to find default route" in agent.log.splitlines()[-1]
    cluster.n1.ip("route", "add", "default", "via", "192.168.50.2")
    line = cluster.start("n1").says("underlay")
    assert "public-ip=203.0.113.1 interface=u1 address=192.168.50.1" in line


@pytest.mark.parametrize(
    ("flag", "text"),
    [
        ("--iface=none", "Failed to find interface to use that matches the interfaces and/or"),
        ("--iface=lo2", "failed to find IPv4 address for interface lo2"),
        ("--public-ip=10.9.9.9", "error looking up interface 10.9.9.9: no interface with given IP"),
    ],
)
def test_an_underlay_that_is_not_there_is_one_line(cluster: Cluster, flag: str, text: str) -> None:
    cluster.n1.ip("link", "add", "lo2", "type", "bridge")
    agent = cluster.start("n1", flag)
    assert agent.ended() == 1
    assert text in agent.log.splitlines()[-1]
