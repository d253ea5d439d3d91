# SPDX-License-Identifier: Apache-2.0
"""The image as overlays' DaemonSets run it: both families at once, leases from etcd over TLS."""

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from fwd.lab import probes
from fwd.lab.probes import Direction, Route
from tests.certificates import Authority
from tests.deploy.rendering import Object, of_kind, pod_spec, rendered
from tests.etcd_server import EtcdServer
from tests.image.cluster import ImageLab, built, wait_reached
from tests.image.kubelet import Pod, start
from tests.image.rights import assert_net_admin_and_nothing_else, threads_of


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ImageLab]:
    with built(tmp_path_factory.mktemp("overlays"), families=(4, 6)) as made:
        yield made


def started(
    lab: ImageLab, found: Sequence[Object], *, generation: str, secrets: Path | None = None
) -> list[Pod]:
    """On both machines, and ready."""
    pods = [
        start(machine, found, generation=generation, secrets=secrets) for machine in lab.machines
    ]
    for pod in pods:
        pod.wait_ready()
    return pods


def assert_tcp(route: Route, direction: Direction, pods: Sequence[Pod]) -> None:
    wait_reached(route, pods)
    stream = probes.tcp(route, seconds=1, direction=direction)
    assert stream.error is None, stream
    print(f"{route.address} {direction.value}: {stream}")


def test_both_families_reach_containers_and_kernel_peers(lab: ImageLab) -> None:
    pods = started(lab, rendered("overlays/dual-stack"), generation="dual")
    one, two, kernel = lab.plan.nodes
    for plan in lab.plan.plans:
        for other, direction in zip((two, kernel), Direction, strict=True):
            route = Route(
                source=one.pods[0].namespace,
                target=other.pods[0].namespace,
                address=str(plan.pod(other.index, 1).ip),
                family=plan.family,
                mtu=lab.plan.path_mtu(plan.family),
            )
            assert_tcp(route, direction, pods)
    assert_net_admin_and_nothing_else(threads_of(pods[0]))
    subnet_env = (pods[0].machine.root / "run/flannel/subnet.env").read_text()
    for family, plan in zip(("", "IPV6_"), lab.plan.plans, strict=True):
        assert f"FLANNEL_{family}SUBNET={plan.gateway(one.index)}\n" in subnet_env
    for pod in pods:
        pod.stop()


def from_etcd(etcd: EtcdServer) -> list[Object]:
    """The overlay, with etcd where it is here: what its etcd.env is to be edited for."""
    found = rendered("overlays/etcd")
    (settings,) = (one for one in of_kind(found, "ConfigMap") if "net-conf.json" not in one["data"])
    settings["data"]["FLANNELD_ETCD_ENDPOINTS"] = etcd.url
    return found


def test_leases_from_etcd_over_tls(lab: ImageLab, tmp_path: Path) -> None:
    host = lab.plan.control_address
    authority = Authority(tmp_path, "ca")
    tls = authority.sign("etcd", ip=host)
    etcd = EtcdServer(tmp_path / "etcd", tls=tls, namespace=lab.plan.switch, host=host)
    etcd.start()
    try:
        # Beyond the subnets of the lab's Pods: who has such an address on a bridge of its own does
        # not find the other node there.
        network = {"Network": "10.244.0.0/16", "SubnetMin": "10.244.100.0"}
        etcd.configure(network | {"Backend": {"Type": "vxlan"}})
        found = from_etcd(etcd)
        secret = tmp_path / "secrets/fwd-etcd"
        secret.mkdir(parents=True)
        for path, key in zip(authority.sign("fwd"), ("tls.crt", "tls.key", "ca.crt"), strict=True):
            shutil.copy(path, secret / key)
        assert pod_spec(found)["automountServiceAccountToken"] is False
        pods = started(lab, found, generation="etcd", secrets=secret.parent)
        assert len(etcd.leases()) == len(pods)
        status = json.loads(pods[1].exec("fwd", "status", "--json"))
        route = Route(
            source=pods[0].machine.namespace,
            target=pods[1].machine.namespace,
            address=status["tunnels"][0]["subnet"].partition("/")[0],
            family=4,
            mtu=lab.plan.pod_mtu,
        )
        assert_tcp(route, Direction.THERE, pods)
        assert_net_admin_and_nothing_else(threads_of(pods[0]))
        for pod in pods:
            pod.stop()
    finally:
        etcd.stop()
