# SPDX-License-Identifier: Apache-2.0
"""The components, in directories such as users make: each by itself, and together."""

from itertools import product
from pathlib import Path
from typing import Final

import pytest

from fwd.config import run_config
from tests.deploy.podsecurity import containers
from tests.deploy.rendering import (
    BASE,
    CLEANUP,
    COMPONENTS,
    Object,
    agent,
    only,
    pod_spec,
    rendered,
    with_components,
)
from tests.deploy.schema import VERSIONS, validate, validate_as_of_1_15

BASES: Final = (BASE, "overlays/etcd", "overlays/mixed")
AN_ADDRESS: Final = "192.0.2.7"


@pytest.mark.parametrize("name", COMPONENTS)
def test_the_api_knows_every_field(name: str, tmp_path: Path) -> None:
    for found, version in product(with_components(tmp_path, name), VERSIONS):
        validate(found, version)


def kinds_of_selinux(spec: Object) -> set[str]:
    """The types that a Pod's containers get: each its own, else the Pod's, else the runtime's."""
    of_pod = spec.get("securityContext", {}).get("seLinuxOptions", {})
    return {
        one["securityContext"].get("seLinuxOptions", of_pod).get("type", "container_t")
        for one in containers(spec)
    }


@pytest.mark.parametrize("others", [(), ("privileged",), ("cleanup",), ("privileged", "cleanup")])
def test_selinux_lets_every_container_at_the_nodes_files(
    others: tuple[str, ...], tmp_path: Path
) -> None:
    """Whether it comes before the others or after them."""
    assert kinds_of_selinux(pod_spec(rendered(BASE))) == {"container_t"}
    for number, names in enumerate([("selinux", *others), (*others, "selinux")]):
        spec = pod_spec(with_components(tmp_path / str(number), *names))
        assert kinds_of_selinux(spec) == {"spc_t"}


def test_selinux_changes_nothing_else(tmp_path: Path) -> None:
    expected = rendered(BASE)
    pod_spec(expected)["securityContext"]["seLinuxOptions"] = {"type": "spc_t"}
    assert with_components(tmp_path, "selinux") == expected


def test_selinux_is_for_old_clusters_as_well(tmp_path: Path) -> None:
    found = with_components(tmp_path, "selinux", base="overlays/legacy-psp")
    assert kinds_of_selinux(pod_spec(found)) == {"spc_t"}
    for one in found:
        validate_as_of_1_15(one)
    assert only(found, "PodSecurityPolicy")["spec"]["seLinux"]["rule"] == "RunAsAny"


@pytest.mark.parametrize("base", BASES)
def test_with_metrics_the_agent_listens_at_the_nodes_address_where_probes_ask(
    base: str, tmp_path: Path
) -> None:
    found = with_components(tmp_path, "metrics", base=base)
    container = agent(found)
    given = {one["name"]: one["valueFrom"]["fieldRef"]["fieldPath"] for one in container["env"]}
    assert given["HOST_IP"] == "status.hostIP"
    args = [one.replace("$(HOST_IP)", AN_ADDRESS) for one in container["args"]]
    config = run_config(args, {"NODE_NAME": "n1", "FLANNELD_ETCD_ENDPOINTS": "http://x:1"})
    assert config.healthz_ip == AN_ADDRESS
    for probe in ("livenessProbe", "readinessProbe"):
        get = container[probe]["httpGet"]
        assert "host" not in get, "kubelet then asks at the Pod's address, which is the node's"
        assert get["port"] == config.healthz_port
    expected = rendered(base)
    ours = pod_spec(expected)["containers"][0]
    ours["args"].append("--healthz-ip=$(HOST_IP)")
    ours["env"].append(
        {"name": "HOST_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}}
    )
    for probe in ("livenessProbe", "readinessProbe"):
        del ours[probe]["httpGet"]["host"]
    assert found == expected, "and nothing else"


OTHERS: Final = tuple(name for name in COMPONENTS if name != "cleanup")


@pytest.mark.parametrize(
    "names", [*((name, "cleanup") for name in OTHERS), (*OTHERS, "cleanup")], ids="-".join
)
def test_whoever_has_a_directory_of_his_own_can_take_it_off(
    names: tuple[str, ...], tmp_path: Path
) -> None:
    """As the overlay does it, with his own image."""
    images = [{"name": "localhost/fwd", "newName": "registry.example/fwd", "newTag": "7"}]
    found = with_components(tmp_path, *names, images=images)
    spec, expected = pod_spec(found), pod_spec(rendered(CLEANUP))
    for one in containers(expected):
        one["image"] = "registry.example/fwd:7"
    assert containers(spec) == containers(expected)
    strategy = only(found, "DaemonSet")["spec"]["updateStrategy"]
    assert strategy == only(rendered(CLEANUP), "DaemonSet")["spec"]["updateStrategy"]


@pytest.mark.parametrize("base", [*BASES, "overlays/legacy-psp"])
def test_what_cleans_up_goes_over_each_overlay(base: str, tmp_path: Path) -> None:
    (first,) = pod_spec(with_components(tmp_path, "cleanup", base=base))["initContainers"]
    (expected,) = pod_spec(rendered(CLEANUP))["initContainers"]
    assert first == expected
