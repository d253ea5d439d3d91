# SPDX-License-Identifier: Apache-2.0
"""`fwd run --static-leases` on real devices: start, stop, loss of the device, changes of the file.

Only the agent's own conduct.  Excluded: what the data path does to packets, beyond a ping.
"""

import json
import signal
import stat
import subprocess
import sys
from ipaddress import ip_network
from typing import Any

import pytest

from fwd.runflags import OFFLOADS
from tests.netns.agent_support import BOTH_FAMILIES, EACH_FAMILY, Agent, Cluster, key

pytestmark = [pytest.mark.netns, pytest.mark.root, pytest.mark.usefixtures("dev_mode")]


def device(cluster: Cluster) -> dict[str, Any]:
    found: dict[str, Any]
    (found,) = cluster.n1.show("address", "show", "dev", cluster.facts.device)
    return found


def own_addresses(cluster: Cluster) -> list[str]:
    return [f"{one['local']}/{one['prefixlen']}" for one in device(cluster)["addr_info"]]


def routes(cluster: Cluster) -> list[str]:
    """Other than that of its own address, which the kernel makes for IPv6."""
    found = cluster.facts.routes(cluster.n1, "dev", cluster.facts.device, "proto", "87")
    return [route["dst"] for route in found]


@EACH_FAMILY
def test_two_nodes_reach_each_other(pair: tuple[Cluster, Agent, Agent]) -> None:
    cluster, first, second = pair
    facts = cluster.facts
    assert cluster.n1.pings(facts.tunnel_ip("n2"))
    assert cluster.n2.pings(facts.tunnel_ip("n1"))
    (line,) = [line for line in first.log.splitlines() if "forwarding" in line]
    for field in ("node=n1", f"subnet={facts.subnet('n1')}", f"device={facts.device}"):
        assert field in line
    assert own_addresses(cluster) == [facts.own_address("n1")], "flannel's /32, and no fe80::"
    assert device(cluster)["mtu"] == facts.mtu
    assert device(cluster)["txqlen"] == 2000
    assert "UP" in device(cluster)["flags"]
    assert routes(cluster) == [facts.network]
    prefix = "FLANNEL" if facts.family == 4 else "FLANNEL_IPV6"
    gateway = ip_network(facts.subnet("n2"))[1]
    assert (second.run_dir / "subnet.env").read_text() == (
        f"{prefix}_NETWORK={facts.network}\n"
        f"{prefix}_SUBNET={gateway}/{ip_network(facts.subnet('n2')).prefixlen}\n"
        "FLANNEL_MTU=1450\n"
        "FLANNEL_IPMASQ=false\n"
    )


@EACH_FAMILY
def test_status_says_what_is_in_force(pair: tuple[Cluster, Agent, Agent]) -> None:
    cluster, first, _ = pair
    facts = cluster.facts
    assert cluster.n1.pings(facts.tunnel_ip("n2"))
    status, tunnel = first.status(), first.tunnel(facts.family)
    assert status["forwarding"] is True
    assert status["trouble"] is None
    (lease,) = status["leases"]
    assert (
        lease
        | {
            "node": "n2",
            "family": facts.family,
            "subnet": facts.subnet("n2"),
            "public-ip": facts.underlay("n2"),
            "vtep-mac": facts.mac("n2"),
        }
        == lease
    )
    assert tunnel["counters"]["out_packets"] >= 1
    assert len(tunnel["worker-counters"]) == tunnel["workers"]
    assert (
        sum(one["out_packets"] for one in tunnel["worker-counters"])
        == (tunnel["counters"]["out_packets"])
    )
    assert len(tunnel["worker-times"]) == tunnel["workers"]
    assert all(one["ran-seconds"] > 0 for one in tunnel["worker-times"])
    assert {name for names in tunnel["offloads"].values() for name in names} == set(OFFLOADS)
    assert sum(len(names) for names in tunnel["offloads"].values()) == len(OFFLOADS)
    assert stat.S_IMODE((first.run_dir / "fwd.sock").stat().st_mode) == 0o600
    people = cluster.n1.run(sys.executable, "-m", "fwd", "status", f"-run-dir={first.run_dir}")
    assert people.returncode == 0
    assert facts.subnet("n1") in people.stdout


@EACH_FAMILY
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_and_leaves_device_and_route(
    pair: tuple[Cluster, Agent, Agent], number: signal.Signals
) -> None:
    cluster, first, _ = pair
    code, seconds = first.stop(number)
    assert code == 0, first.log
    assert seconds < 2
    assert "Traceback" not in first.log
    assert own_addresses(cluster) == [cluster.facts.own_address("n1")]
    assert routes(cluster) == [cluster.facts.network]
    assert not (first.run_dir / "fwd.sock").exists()


@EACH_FAMILY
def test_it_starts_again_on_the_device_that_it_left(cluster: Cluster) -> None:
    cluster.started("n2")
    first = cluster.started("n1")
    index = device(cluster)["ifindex"]
    first.stop()
    again = cluster.started("n1")
    assert device(cluster)["ifindex"] == index
    assert not again.lines("device-replaced")
    assert cluster.n1.pings(cluster.facts.tunnel_ip("n2"))


@EACH_FAMILY
def test_a_crash_leaves_nothing_in_the_way(cluster: Cluster) -> None:
    cluster.started("n2")
    first = cluster.started("n1")
    first.stop(signal.SIGKILL)
    cluster.started("n1")
    assert cluster.n1.pings(cluster.facts.tunnel_ip("n2"))


@EACH_FAMILY
def test_a_deleted_device_comes_back_with_its_leases(pair: tuple[Cluster, Agent, Agent]) -> None:
    cluster, first, _ = pair
    family, there = cluster.facts.family, cluster.facts.tunnel_ip("n2")
    assert cluster.n1.pings(there)
    before = first.tunnel(family)["counters"]["out_packets"]
    for times in (1, 2, 3):
        cluster.n1.ip("link", "del", cluster.facts.device)
        first.says("device-lost", times=times)
        first.says("tunnel-restored", times=times)
    assert cluster.n1.pings(there)
    assert own_addresses(cluster) == [cluster.facts.own_address("n1")]
    assert first.tunnel(family)["counters"]["out_packets"] > before, "totals never go back"


@EACH_FAMILY
@pytest.mark.parametrize("change", [("down",), ("mtu", "1300")])
def test_a_changed_device_is_put_right(
    pair: tuple[Cluster, Agent, Agent], change: tuple[str, ...]
) -> None:
    cluster, first, _ = pair
    cluster.n1.ip("link", "set", cluster.facts.device, *change)
    first.says("device-repaired")
    assert device(cluster)["mtu"] == cluster.facts.mtu
    assert routes(cluster) == [cluster.facts.network]
    assert cluster.n1.pings(cluster.facts.tunnel_ip("n2"))


@EACH_FAMILY
def test_a_kernel_vxlan_device_is_replaced_and_its_mac_kept(cluster: Cluster) -> None:
    mac, facts = "0e:11:22:33:44:55", cluster.facts
    ours = cluster.entries[key("n1", facts.family)]
    del ours["backend-data"]
    cluster.write()
    cluster.n1.ip(
        *("link", "add", facts.device, "address", mac, "type", "vxlan", "id", "1"),
        *("dstport", "8472", "local", facts.underlay("n1"), "dev", "u1", "nolearning"),
    )
    cluster.n1.ip("address", "add", facts.own_address("n9"), "dev", facts.device)
    cluster.n1.ip("link", "set", facts.device, "up")
    first = cluster.started("n1")
    assert "kind=vxlan" in first.says("device-replaced")
    assert first.tunnel(facts.family)["vtep-mac"] == mac
    assert device(cluster)["linkinfo"]["info_kind"] == "tun"
    assert own_addresses(cluster) == [facts.own_address("n1")]

    first.stop()
    again = cluster.started("n1")
    assert not again.lines("vtep-mac"), "a TUN has no MAC, so it is remembered"
    assert again.tunnel(facts.family)["vtep-mac"] == mac
    ours["backend-data"] = {"VNI": 1, "VtepMAC": "02:00:00:00:00:07"}
    cluster.write()
    again.says("own-lease-changed")
    assert "0e:11:22:33:44:55" in again.says("vtep-mac-differs")
    assert again.tunnel(facts.family)["vtep-mac"] == "02:00:00:00:00:07"


@EACH_FAMILY
def test_a_foreign_device_of_that_name_is_not_touched(cluster: Cluster) -> None:
    device = cluster.facts.device
    cluster.n1.ip("link", "add", device, "type", "bridge")
    agent = cluster.start("n1")
    assert agent.ended() == 1
    assert agent.log.splitlines()[-1] == (
        f"fwd run: {device} exists and is a bridge device: rename or remove it"
    )
    assert cluster.n1.show("link", "show", device)[0]["linkinfo"]["info_kind"] == "bridge"


@EACH_FAMILY
def test_a_taken_port_is_one_line_that_says_what_to_look_for(cluster: Cluster) -> None:
    underlay = cluster.facts.underlay("n1")
    cluster.n1.ip(
        *("link", "add", "other", "type", "vxlan", "id", "9", "dstport", "8472"),
        *("local", underlay, "dev", "u1"),
    )
    cluster.n1.ip("link", "set", "other", "up")
    agent = cluster.start("n1")
    assert agent.ended() == 1
    last = agent.log.splitlines()[-1]
    assert last.startswith(f"fwd run: cannot receive on {underlay} UDP port 8472: ")
    assert "ip -d link show type vxlan" in last
    assert not cluster.n1.show("link", "show", cluster.facts.device)


@EACH_FAMILY
def test_two_agents_on_one_device_are_refused(cluster: Cluster) -> None:
    cluster.started("n1")
    same_directory = cluster.start("n1", "--node-name", "n2")
    assert same_directory.ended() == 1
    assert "another agent runs with" in same_directory.log
    other_directory = cluster.start("n1", "--run-dir", str(cluster.directory / "other"))
    assert other_directory.ended() == 1
    assert f"{cluster.facts.device} is in use by another process" in other_directory.log


@BOTH_FAMILIES
@pytest.mark.parametrize(
    "name", ["vnet-hdr", "tso", "uso", "multi-queue", "udp-segment", "udp-gro"]
)
def test_every_offload_can_be_done_without(cluster: Cluster, name: str) -> None:
    cluster.started("n2")
    first = cluster.started("n1", f"-disable-offload={name}")
    assert cluster.reaches(cluster.n1, "n2")
    tunnels = first.status()["tunnels"]
    assert [one["family"] for one in tunnels] == list(cluster.families)
    assert all(name in one["offloads"]["disabled"] for one in tunnels)
    assert not any(name in one["offloads"]["in-force"] for one in tunnels)
    if name == "multi-queue":
        assert {one["workers"] for one in tunnels} == {1}
        first.stop()
        again = cluster.started("n1", "--workers=2")
        again.says("device-replaced", times=2)
        workers = {one["workers"] for one in again.status()["tunnels"]}
        assert workers == {2}, "a single-queue TUN is made anew"


@EACH_FAMILY
def test_a_plane_takes_5000_leases_in_milliseconds_and_refuses_nonsense(
    cluster: Cluster, family: int
) -> None:
    program = (sys.executable, "-X", "dev", "-m", "tests.netns.plane_script")
    done = cluster.n1.run(*program, str(family))
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["commit_seconds"] < 0.25, "milliseconds; the bound allows for a busy machine"
    assert result["no_such_peer"] == "EINVAL"
    assert result["twice"] == "EEXIST"
    assert result["empty"] is None
    assert result["workers"] == [result["counters"]] * 2


def test_the_net_conf_must_be_vxlan(cluster: Cluster) -> None:
    cluster.net_conf.write_text('{"Network": "10.244.0.0/16"}')
    agent = cluster.start("n1")
    assert agent.ended() == 1
    assert "unknown backend type: udp" in agent.log.splitlines()[-1]


def test_it_ends_within_two_seconds_while_a_status_reader_sleeps(
    pair: tuple[Cluster, Agent, Agent],
) -> None:
    """The document of two leases fits the socket's buffer; this is about the open connection."""
    _, first, _ = pair
    reader = subprocess.Popen(
        [sys.executable, "-c", _SLEEPING_READER, str(first.run_dir / "fwd.sock")],
        stdout=subprocess.PIPE,
    )
    try:
        assert reader.stdout is not None
        assert reader.stdout.read(1) == b"c"
        code, seconds = first.stop()
        assert code == 0
        assert seconds < 2
    finally:
        reader.kill()
        reader.communicate(timeout=5)


_SLEEPING_READER = """\
import socket, sys, time
asking = socket.socket(socket.AF_UNIX)
asking.connect(sys.argv[1])
print("connected", flush=True)
time.sleep(20)
"""
