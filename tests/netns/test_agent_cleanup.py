# SPDX-License-Identifier: Apache-2.0
"""`fwd cleanup`: a node is after it as it was before the first start, whatever the agent's mode."""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.netns.agent_support import FACTS, wait_for
from tests.netns.host_support import ENGINES, Host
from tests.netns.kube_cluster import KubeCluster, running

pytestmark = [pytest.mark.netns, pytest.mark.root]


@pytest.mark.parametrize("engine", [*ENGINES, "iptables-legacy"])
def test_cleanup_leaves_the_node_as_it_was(host: Host, engine: str) -> None:
    host.cluster.configure(nft=ENGINES.get(engine, False))
    if engine == "iptables-legacy":  # what kubelet uses is used
        host.node.run(engine, "-t", "mangle", "-N", "KUBE-KUBELET-CANARY")
    cleaned = all_is_cleaned(host)
    for trace in ("device flannel.1", "device flannel-v6.1", "flannel-v6.1.mac"):
        assert trace in cleaned
    assert ("MASQUERADE" if engine != "nftables" else "flannel-ipv6") in cleaned
    if engine != "nftables":
        assert f"rule of {engine.removeprefix('iptables-')}" in cleaned.replace("iptables-", "")


def test_cleanup_after_kube_mode_and_direct_routes(tmp_path: Path) -> None:
    with running(KubeCluster(tmp_path, families=(4, 6))) as kube:
        kube.configure(DirectRouting=True)
        kube.put(3, public_ip="192.168.50.33", public_ipv6="fd02::33")
        direct = ("proto", "86", "table", "main")
        cleaned = all_is_cleaned(
            Host(kube),
            until=lambda: all(facts.routes(kube.n1, *direct) for facts in FACTS.values()),
        )
    assert "leases.saved" in cleaned
    for family, facts in FACTS.items():
        for trace in (
            f"route {facts.subnet('n3')}",
            f"{facts.device}.mac",
            f"flannel-ipv{family}",
        ):
            assert trace in cleaned


def all_is_cleaned(host: Host, *, until: Callable[[], bool] = lambda: True) -> str:
    """A node is after its agent and `fwd cleanup` as it was before; what that says."""
    host.node.everything()  # looking makes iptables' tables
    before = host.dump()
    agent = host.started()
    wait_for("all that it makes", until)
    refused = host.cleanup()
    assert refused.returncode == 1
    assert "another agent runs" in refused.stderr
    agent.stop()
    ran = host.dump()
    assert all(ran[key] != before[key] for key in ("links", "routes", "rules", "files"))
    listed = host.cleanup("--dry-run")
    assert host.dump() == ran, "listing changes nothing"
    done = host.cleanup()
    assert done.returncode == 0, done.stderr
    assert host.dump() == before
    assert done.stdout == listed.stdout.replace("would remove", "removed")
    for path in (host.subnet_env, host.conflist, host.run_dir):
        assert str(path) in done.stdout
    assert host.cleanup().stdout == "nothing to remove\n"
    return done.stdout


def test_cleanup_says_nothing_of_its_own_lock(host: Host) -> None:
    host.run_dir.mkdir()
    (host.run_dir / "mine").touch()  # a directory that stays, as a mount point does
    for flags in (["--dry-run"], []):
        assert host.cleanup(*flags).stdout == "nothing to remove\n"
        assert [path.name for path in host.run_dir.iterdir()] == ["mine"]


def test_cleanup_that_may_not_ask_for_rules_is_no_success(host: Host, tmp_path: Path) -> None:
    """What it could do is done, and the next one does the rest."""
    host.started().stop()
    refusing = tmp_path / "refusing"
    refusing.mkdir()
    for name in ("iptables-nft-save", "nft"):
        (refusing / name).write_text("#!/bin/sh\necho 'you must be root' >&2\nexit 4\n")
        (refusing / name).chmod(0o755)
    rules = host.node.everything()
    for flags in (["--dry-run"], []):
        done = host.cleanup(*flags, path=f"{refusing}:{os.environ['PATH']}")
        assert done.returncode == 1
        assert done.stderr.startswith("fwd cleanup: rules may be left (")
        assert done.stderr.count("you must be root") == 2
        assert done.stderr.endswith("): run fwd cleanup again, as root\n")
        assert "device flannel.1" in done.stdout
    assert host.node.everything() == rules
    assert [path.name for path in host.run_dir.iterdir()] == ["traces.json"]
    again = host.cleanup()
    assert again.returncode == 0
    assert "rule of iptables-nft nat" in again.stdout
    assert not host.run_dir.exists()


def test_cleanup_leaves_what_others_changed(host: Host) -> None:
    host.started().stop()
    host.conflist.write_text("{}")
    (host.run_dir / "mine").touch()
    done = host.cleanup()
    assert f"left: {host.conflist}" in done.stdout
    assert [path.name for path in host.run_dir.iterdir()] == ["mine"]
    assert host.conflist.read_text() == "{}"


@pytest.mark.parametrize("mode", ["copy", "render"])
def test_cleanup_leaves_a_node_that_is_flannels_again(host: Host, mode: str) -> None:
    host.started(f"--cni-mode={mode}").stop()
    host.cluster.n1.ip("link", "del", "flannel.1")
    host.cluster.n1.ip("link", "add", "flannel.1", "type", "vxlan", "id", "1", "dstport", "8472")
    rules = host.node.everything()
    done = host.cleanup()
    assert "left: device flannel.1, which is a vxlan device" in done.stdout
    assert "left: rules and subnet.env" in done.stdout
    assert host.node.everything() == rules
    assert host.subnet_env.exists()
    assert host.conflist.exists() is (mode == "copy"), "the same that flannel's Pod puts there"
    assert not host.run_dir.exists()


def give_number(host: Host, vni: int) -> None:
    host.cluster.configure(nft=False, VNI=vni)
    for one in host.cluster.entries.values():
        one["backend-data"]["VNI"] = vni
    host.cluster.write()


@pytest.mark.parametrize("vni", [1, 4096])
def test_cleanup_with_another_run_dir_refuses_too(host: Host, tmp_path: Path, vni: int) -> None:
    give_number(host, vni)
    host.started()
    ran = host.dump()
    refused = host.cleanup()
    assert refused.returncode == 1
    assert refused.stderr.endswith(f"another agent runs with {host.run_dir}: stop it first\n")
    (tmp_path / "empty").mkdir()
    for name in ("none", "empty"):
        for flags in (["--dry-run"], []):
            refused = host.cleanup("--run-dir", str(tmp_path / name), *flags)
            assert (refused.returncode, refused.stdout) == (1, "")
            assert re.search(rf"device flannel\S*\.{vni} is in use by another", refused.stderr)
    assert host.dump() == ran
    assert not list((tmp_path / "empty").iterdir())


def test_cleanup_without_a_note_finds_devices_of_any_number(host: Host) -> None:
    give_number(host, 4096)
    host.node.everything()  # looking makes iptables' tables
    before = host.dump()
    host.started().stop()
    assert FACTS[4].routes(host.cluster.n1, "proto", "87"), "into the tunnel"
    shutil.rmtree(host.run_dir)
    listed = host.cleanup("--dry-run")
    done = host.cleanup()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == listed.stdout.replace("would remove", "removed")
    for device in ("flannel.4096", "flannel-v6.4096"):
        assert f"removed device {device}, with its addresses and routes\n" in done.stdout
    after = host.dump()
    assert all(after[key] == before[key] for key in before if key != "files")
    assert host.cleanup().stdout == "nothing to remove\n"


@pytest.mark.parametrize("noted", [False, True], ids=["no note", "a note"])
def test_cleanup_where_there_is_only_flannel(host: Host, *, noted: bool) -> None:
    """With a number of its own: the rules have the names of ours."""
    host.started().stop()
    if not noted:
        shutil.rmtree(host.run_dir)
    for facts in FACTS.values():
        host.cluster.n1.ip("link", "del", facts.device)
    vxlan = ("type", "vxlan", "id", "4096", "dstport", "8472")
    host.cluster.n1.ip("link", "add", "flannel.4096", *vxlan)
    rules = host.node.everything()
    done = host.cleanup()
    assert "left: device flannel.4096, which is a vxlan device, not ours\n" in done.stdout
    assert "left: rules and subnet.env" in done.stdout
    assert host.node.everything() == rules
