# SPDX-License-Identifier: Apache-2.0
"""The image as the base's DaemonSet runs it: what it may do, and TCP to each kind of peer."""

import json
import re
from collections.abc import Iterator

import pytest

from fwd.lab import netns, probes
from fwd.lab.probes import Direction, Route
from tests.deploy.rendering import BASE, rendered
from tests.image.cluster import ImageLab, built, wait_reached
from tests.image.kubelet import Pod, start
from tests.image.rights import assert_net_admin_and_nothing_else, shown, threads_of


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ImageLab]:
    with built(tmp_path_factory.mktemp("image")) as made:
        yield made


@pytest.fixture(scope="module")
def pods(lab: ImageLab) -> list[Pod]:
    found = [start(machine, rendered(BASE)) for machine in lab.machines]
    for pod in found:
        pod.wait_ready()
    return found


def links(pod: Pod) -> set[str]:
    return {link["ifname"] for link in netns.links(pod.machine.namespace)}


def test_tcp_goes_between_two_containers_and_to_a_kernel_peer(
    lab: ImageLab, pods: list[Pod]
) -> None:
    assert len(pods) == 2
    (one, *others) = lab.plan.nodes
    family = lab.plan.plans[0]
    for other in others:
        route = Route(
            source=one.pods[0].namespace,
            target=other.pods[0].namespace,
            address=str(family.pod(other.index, 1).ip),
            family=4,
            mtu=lab.plan.pod_mtu,
        )
        wait_reached(route, pods)
        for direction in Direction:
            stream = probes.tcp(route, seconds=1, direction=direction)
            assert stream.error is None, stream
            print(f"{one.name} to {other.name} ({other.kind.value}) {direction.value}: {stream}")


def test_every_thread_has_net_admin_and_nothing_else(pods: list[Pod]) -> None:
    threads = threads_of(pods[0])
    print(f"\n{shown(threads)}")
    assert "tini" in {fields["Name"] for fields in threads.values()}
    assert_net_admin_and_nothing_else(threads)


def test_it_has_given_up_what_the_runtime_gives_beyond_its_needs(pods: list[Pod]) -> None:
    """The exit code is 0 if all that is tried fails as it must."""
    said = pods[0].exec("fwd", "rights")
    print(f"\n{said}")
    assert "root file system: read-only\nsystem calls: limited\n" in said
    workers = said.partition("workers (")[2]
    assert "capabilities in effect:  none\n" in workers
    assert "filters of system calls: 3\n" in workers, "the runtime's, the agent's and their own"


def test_it_writes_what_the_node_needs_and_its_root_is_read_only(pods: list[Pod]) -> None:
    pod = pods[0]
    root = pod.machine.root
    assert "FLANNEL_SUBNET=10.244.1.1/24" in (root / "run/flannel/subnet.env").read_text()
    conflist = json.loads((root / "etc/cni/net.d/10-flannel.conflist").read_text())
    for plugin in conflist["plugins"]:
        assert (root / "opt/cni/bin" / plugin["type"]).exists()
    with pytest.raises(AssertionError, match="Read-only file system"):
        pod.exec("touch", "/here")


def test_the_doctor_finds_nothing_wrong_with_the_rights_that_it_has_there(pods: list[Pod]) -> None:
    said = pods[0].exec("fwd", "doctor")
    print(f"\n{said}")
    assert "all is well" in said, "and the exit code is 0"
    assert re.search(r"^ok +CNI plugins", said, re.MULTILINE)


def test_the_memory_that_is_requested_is_what_it_takes(pods: list[Pod]) -> None:
    statuses = pods[0].files("root/proc/[0-9]*/status").values()
    kib = sum(
        int(kib)
        for text in statuses
        for kib in re.findall(r"^RssAnon:\s+(\d+)", text, re.MULTILINE)
    )
    requested = pods[0].spec["containers"][0]["resources"]["requests"]["memory"]
    print(f"RssAnon {kib / 1024:.1f} MiB, requested {requested}")
    assert kib < int(requested.removesuffix("Mi")) * 1024


def test_it_is_live_and_stops_when_told(pods: list[Pod]) -> None:
    for pod in pods:
        assert pod.probe("livenessProbe") == 200
        pod.stop()
        assert pod.probe("livenessProbe") == 0


def test_what_it_has_left_is_taken_away_by_the_overlay_for_that(
    lab: ImageLab, pods: list[Pod]
) -> None:
    """Runs last: the agents have been stopped."""
    machine = lab.machines[0]
    left = [machine.root / "run/flannel/subnet.env", machine.root / "etc/cni/net.d"]
    assert all(path.exists() for path in left)
    assert "flannel.1" in links(pods[0])
    start(machine, rendered("overlays/cleanup"))
    assert "flannel.1" not in links(pods[0])
    assert not left[0].exists()
    assert list(left[1].iterdir()) == []
