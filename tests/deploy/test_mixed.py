# SPDX-License-Identifier: Apache-2.0
"""fwd beside flannel: each node has one of the two, and both have one configuration."""

from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.deploy.rendering import KUSTOMIZE, ROOT, Object, kustomized, only, pod_spec, rendered

MIXED: Final = "overlays/mixed"
STOCK: Final = ROOT / "tests/image/stock"
NODES: Final = (
    {"kubernetes.io/os": "linux"},
    {"kubernetes.io/os": "linux", "fwd/vxlan": "absent"},
    {"kubernetes.io/os": "linux", "fwd/vxlan": "present"},
    {"kubernetes.io/os": "windows"},
    {"kubernetes.io/os": "windows", "fwd/vxlan": "absent"},
)


def fits(requirement: Object, labels: dict[str, str]) -> bool:
    value = labels.get(requirement["key"])
    match requirement["operator"]:
        case "In":
            return value in requirement["values"]
        case "NotIn":
            return value not in requirement["values"]
    raise AssertionError(requirement)


def runs_on(spec: Object, labels: dict[str, str]) -> bool:
    """As the DaemonSet's controller decides: one of the terms, and all that is in it."""
    if not spec.get("nodeSelector", {}).items() <= labels.items():
        return False
    affinity = spec.get("affinity", {}).get("nodeAffinity")
    if affinity is None:
        return True
    terms = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    return any(all(fits(one, labels) for one in term["matchExpressions"]) for term in terms)


@pytest.fixture
def flannel(tmp_path: Path) -> Object:
    """flannel's Pod after the patch, which kustomize merges as `kubectl patch` does."""
    stock = list(yaml.safe_load_all((STOCK / "flannel-0.28.yaml").read_text()))
    (tmp_path / "stock.yaml").write_text(yaml.safe_dump_all(stock))
    patch: dict[str, Any] = yaml.safe_load((KUSTOMIZE / MIXED / "stock-flannel.yaml").read_text())
    head = {key: only(stock, "DaemonSet")[key] for key in ("apiVersion", "kind", "metadata")}
    return pod_spec(
        kustomized(
            tmp_path, resources=["stock.yaml"], patches=[{"patch": yaml.safe_dump(head | patch)}]
        )
    )


def test_each_linux_node_has_one_of_the_two(flannel: Object) -> None:
    ours = pod_spec(rendered(MIXED))
    for labels in NODES:
        running = [
            name for name, spec in (("fwd", ours), ("flannel", flannel)) if runs_on(spec, labels)
        ]
        if labels["kubernetes.io/os"] != "linux":
            assert running == []
        else:
            assert running == ["fwd" if labels.get("fwd/vxlan") == "absent" else "flannel"]


def test_the_patch_changes_where_flannel_runs_and_nothing_else(flannel: Object) -> None:
    before = pod_spec(list(yaml.safe_load_all((STOCK / "flannel-0.28.yaml").read_text())))
    del before["affinity"], flannel["affinity"]
    assert flannel == before


def test_it_is_one_object_with_flannels_account_and_configuration() -> None:
    (daemonset,) = rendered(MIXED)
    stock = list(yaml.safe_load_all((STOCK / "flannel-0.28.yaml").read_text()))
    assert daemonset["metadata"]["namespace"] == only(stock, "DaemonSet")["metadata"]["namespace"]
    spec = pod_spec([daemonset])
    assert spec["serviceAccountName"] == pod_spec(stock)["serviceAccountName"]
    (volume,) = (one for one in spec["volumes"] if "configMap" in one)
    assert volume["configMap"]["name"] == only(stock, "ConfigMap")["metadata"]["name"]
