# SPDX-License-Identifier: Apache-2.0
"""What a running agent keeps on its host besides the tunnel, from rules to conflist.

The rules themselves are tested where their keeper is; here, that the agent uses it.
"""

import fcntl
import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_network
from typing import Final

import pytest

from fwd.node.traces import load
from tests.netns.agent_support import EACH_FAMILY, FACTS, entry, key, wait_for
from tests.netns.host_support import Host

pytestmark = [pytest.mark.netns, pytest.mark.root]

DAMAGES: Final[dict[str, Callable[[Host], object]]] = {
    "rules": lambda host: host.node.run("iptables-nft", "-t", "nat", "-F", "FLANNEL-POSTRTG"),
    "rules of IPv6": lambda host: host.node.run("ip6tables-nft", "-F", "FLANNEL-FWD"),
    "subnet.env": lambda host: host.subnet_env.unlink(),
    "conflist": lambda host: host.conflist.write_text("{}"),
    "blackhole route": lambda host: host.cluster.n1.ip("route", "flush", "type", "blackhole"),
    "blackhole route of IPv6": lambda host: host.cluster.n1.ip(
        "-6", "route", "del", "blackhole", FACTS[6].subnet("n1")
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_others_undo_is_put_back_and_told(host: Host, damage: str) -> None:
    part = damage.removesuffix(" of IPv6")
    agent = host.started()
    right = host.dump()
    DAMAGES[damage](host)  # a look at it now could come after the repair
    assert part in agent.says("host-repaired")
    wait_for("repair", lambda: host.dump() == right)
    (state,) = [one for one in agent.status()["host"] if one["part"] == part]
    assert state["repairs"] == 1
    assert state["trouble"] is None
    assert state["last-repair"]


@EACH_FAMILY
def test_all_follows_the_own_lease(host: Host, family: int) -> None:
    agent, facts = host.started(), FACTS[family]
    new, old, other = facts.subnet("n7"), facts.subnet("n1"), FACTS[10 - family].subnet("n1")
    host.cluster.entries[key("n1", family)]["subnet"] = new
    host.cluster.write()
    agent.says("subnet-changed")
    wait_for("conflist", lambda: new in host.conflist.read_text())
    assert [one[0]["subnet"] for one in host.ranges()] == sorted((new, other))
    assert f"={ip_network(new)[1]}/" in host.subnet_env.read_text()
    wait_for("blackhole", lambda: sorted(host.blackholes()) == sorted((new, other)))
    rules = host.node.dump("iptables-nft")
    assert f"-s {new} -d {facts.network}" in rules
    assert old not in rules
    assert other in rules
    assert not agent.lines("host-repaired"), "nobody's fault"


def test_pods_get_the_mtu_of_the_underlay(host: Host) -> None:
    agent = host.started()
    host.cluster.n1.ip("link", "set", "u1", "mtu", "1400")
    wait_for("subnet.env", lambda: "FLANNEL_MTU=1350" in host.subnet_env.read_text())
    wait_for("conflist", lambda: '"mtu": 1350' in host.conflist.read_text())
    assert not agent.lines("host-repaired")


def test_flags_that_are_off_take_back_what_they_made(host: Host) -> None:
    host.started().stop()
    host.cluster.configure(nft=True)
    agent = host.started(
        "--ip-masq=false", "--ip-blackhole-route=false", "--iptables-forward-rules=false"
    )
    wait_for("blackhole", lambda: not host.blackholes())
    left = host.node.everything()
    assert not left.pop("iptables-nft-save")
    assert "FLANNEL_IPMASQ=false" in host.subnet_env.read_text()
    assert next(one["state"] for one in agent.status()["host"]) == "none wanted"


def readyz(host: Host) -> int:
    script = "import http.client as h; c = h.HTTPConnection('127.0.0.1', 8081, timeout=5)"
    script += "; c.request('GET', '/readyz'); print(c.getresponse().status)"
    return int(host.cluster.n1.run(sys.executable, "-c", script).stdout)


def test_a_part_in_trouble_holds_back_what_pods_wait_for(host: Host) -> None:
    host.subnet_env.parent.touch()  # a file, where a directory must be
    agent = host.start("--healthz-ip=127.0.0.1", "--healthz-port=8081")
    assert "subnet.env" in agent.says("host-trouble")
    assert readyz(host) == 503
    assert agent.lines("forwarding"), "packets flow all the same"
    assert not host.conflist.exists()
    assert not agent.lines("host-ready")
    (state,) = [one for one in agent.status()["host"] if one["part"] == "subnet.env"]
    assert state["state"] == "not yet"
    for times in (1, 2):  # a second round has begun, and is over
        DAMAGES["rules"](host)
        agent.says("host-repaired", times=times)
    host.subnet_env.parent.unlink()
    agent.says("host-trouble-over")
    agent.says("host-ready")
    assert readyz(host) == 200
    assert host.conflist.exists()
    assert len(agent.lines("host-trouble")) == 1, "said once"


def test_a_held_lock_holds_up_neither_packets_nor_leases(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock_file = host.cluster.directory / "xtables.lock"
    monkeypatch.setenv("XTABLES_LOCKFILE", str(lock_file))
    host.node.run("iptables-legacy", "-A", "INPUT", "-s", "192.0.2.1")  # so it is what is in use
    host.cluster.started("n2")
    with lock_file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        agent = host.start()
        agent.says("forwarding")
        assert host.cluster.reaches(host.cluster.n2, "n1")
        host.cluster.entries["n3"] = entry("n3")
        host.cluster.write()
        agent.says("leases")
        assert not agent.lines("host-trouble"), "it waits for the lock all the while"
        assert "lock" in agent.says("host-trouble")
        assert not agent.lines("host-ready")
    agent.says("host-ready")
    assert "MASQUERADE" in host.node.run("iptables-legacy-save")


def test_without_a_directory_cni_is_left_alone(host: Host) -> None:
    host.conflist.parent.rmdir()
    agent = host.started()
    agent.says("cni-left-alone")
    DAMAGES["blackhole route"](host)  # which is looked at after it
    agent.says("host-repaired")
    host.conflist.parent.mkdir()
    wait_for("conflist", host.conflist.exists)
    assert len(agent.lines("cni-left-alone")) == 1


def test_a_cni_conf_that_cannot_be_used_is_one_line(host: Host) -> None:
    host.conf.write_text(json.dumps({"name": "cbr0", "plugins": [{"type": 7}]}))
    agent = host.start()
    assert agent.ended() == 1
    # What took long, on a busy machine; what a sanitizer's build cannot do.
    others = "event=settings", "event=asyncio", "event=calls-not-limited"
    lines = [line for line in agent.log.splitlines() if not any(one in line for one in others)]
    assert len(lines) == 1, agent.log
    assert str(host.conf) in lines[0]


def test_a_full_run_directory_is_said_and_the_note_taken_later(host: Host) -> None:
    host.run_dir.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(host.run_dir)]
    subprocess.run(mount, check=True, timeout=10)
    filler = host.run_dir / "filler"
    try:
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        agent = host.start()
        agent.says("forwarding")
        assert "cannot note for `fwd cleanup`" in agent.says("run-dir")
        filler.unlink()
        agent.says("host-ready")
        devices = {FACTS[family].device for family in host.cluster.families}
        wait_for("the note", lambda: set(load(host.run_dir).devices) == devices)
        agent.stop()
    finally:
        subprocess.run(["umount", "--lazy", host.run_dir], check=True, timeout=10)


def test_copy_writes_it_through(host: Host) -> None:
    host.started("--cni-mode=copy")
    assert host.conflist.read_bytes() == host.conf.read_bytes()
