# SPDX-License-Identifier: Apache-2.0
"""The chart, rendered by helm itself: the same objects as the base and the overlays."""

import functools
import json
import os
import re
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.deploy.podsecurity import containers
from tests.deploy.rendering import (
    BASE,
    ROOT,
    Object,
    agent,
    objects,
    of_kind,
    only,
    pod_spec,
    rendered,
    run,
    with_components,
)
from tests.deploy.schema import VERSIONS, validate

HELM: Final = ROOT / "build/tools/helm"
CHART: Final = ROOT / "deploy/chart/fwd"
# The names in flannel's chart (flannel spec 9.6), with values as operators give them.
FLANNELS: Final = """
global: {imagePullSecrets: [{name: a-secret}]}
podCidr: 10.42.0.0/16
podCidrv6: ""
flannel:
  image: {repository: registry.example/fwd, tag: "1"}
  flannel_cni: {image: {repository: registry.example/flannel-cni-plugin, tag: "1"}}
  cniBinDir: /usr/libexec/cni
  cniConfDir: /etc/other/net.d
  skipCNIConfigInstallation: false
  enableNFTables: true
  args: [--ip-masq, --kube-subnet-mgr, --iface=eth1]
  backend: vxlan
  backendPort: 4789
  mtu: 1400
  vni: 4096
  GBP: false
  directRouting: true
  macPrefix: 0E-2A
  resources: {requests: {cpu: 50m, memory: 80Mi}}
  healthz:
    port: 9000
    livenessProbe: {initialDelaySeconds: 1, periodSeconds: 2}
    readinessProbe: {initialDelaySeconds: 3, periodSeconds: 4}
  tolerations: [{key: a, operator: Exists}]
  nodeSelector: {a: b}
netpol: {enabled: false}
"""


@functools.cache
def _templated(values: str) -> str:
    return run(
        *(str(HELM), "template", "fwd", str(CHART), "--namespace", "fwd", "--values", "-"),
        stdin=values,
    )


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the user's own helm."""
    for name in ("CACHE", "CONFIG", "DATA"):
        monkeypatch.setitem(os.environ, f"HELM_{name}_HOME", str(tmp_path))


def templated(**values: Any) -> list[Object]:  # noqa: ANN401
    return objects(_templated(json.dumps(values)))


def comparable(found: list[Object]) -> dict[str, Object]:
    """By kind, without what only the one or the other can have.

    kustomize makes the Namespace, which helm leaves to its user; a hash of the configuration is in
    the ConfigMap's name there, and in an annotation here.
    """
    by_kind = {one["kind"]: one for one in found if one["kind"] != "Namespace"}
    template = by_kind["DaemonSet"]["spec"]["template"]
    template["metadata"].pop("annotations", None)
    (volume,) = (one for one in template["spec"]["volumes"] if "configMap" in one)
    assert volume["configMap"]["name"] == by_kind["ConfigMap"]["metadata"]["name"]
    volume["configMap"]["name"] = by_kind["ConfigMap"]["metadata"]["name"] = "kube-flannel-cfg"
    data = by_kind["ConfigMap"]["data"]
    by_kind["ConfigMap"]["data"] = {key: json.loads(text) for key, text in data.items()}
    return by_kind


def test_without_values_it_is_the_base() -> None:
    assert comparable(templated()) == comparable(rendered(BASE))


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"flannel": {"enableNFTables": True}}, "overlays/nftables"),
        ({"podCidrv6": "fd00:10:244::/56"}, "overlays/dual-stack"),
    ],
)
def test_values_do_what_overlays_do(values: dict[str, Any], name: str) -> None:
    assert comparable(templated(**values)) == comparable(rendered(name))


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ({"privileged": True}, ["privileged"]),
        ({"netRaw": True}, ["net-raw"]),
        ({"seLinuxOptions": {"type": "spc_t"}}, ["selinux"]),
        ({"metrics": True}, ["metrics"]),
        ({"cleanup": True}, ["cleanup"]),
        (
            {"seLinuxOptions": {"type": "spc_t"}, "netRaw": True, "metrics": True, "cleanup": True},
            ["selinux", "net-raw", "metrics", "cleanup"],
        ),
    ],
)
def test_its_own_values_do_what_the_components_do(
    values: dict[str, Any], names: list[str], tmp_path: Path
) -> None:
    expected = with_components(tmp_path / "components", *names)
    args = only(expected, "DaemonSet")["spec"]["template"]["spec"]["containers"][0]["args"]
    if "--healthz-ip=$(HOST_IP)" in args:  # a component can only say it after the base's
        args.remove("--healthz-ip=127.0.0.1")
        args.insert(args.index("--healthz-port=8081"), args.pop())
    assert comparable(templated(fwd=values)) == comparable(expected)


def test_it_can_be_taken_off_where_it_has_left_cni_alone() -> None:
    found = templated(fwd={"cleanup": True}, flannel={"skipCNIConfigInstallation": True})
    (first,) = pod_spec(found)["initContainers"]
    mounted = {one["name"] for one in first["volumeMounts"]}
    assert mounted == {"run", "xtables-lock"}
    assert mounted <= {one["name"] for one in pod_spec(found)["volumes"]}


def test_an_update_goes_as_fast_as_it_is_told() -> None:
    def strategy(**values: Any) -> Object:  # noqa: ANN401
        found = only(templated(fwd=values), "DaemonSet")
        for version in VERSIONS:
            validate(found, version)
        rolling: Object = found["spec"]["updateStrategy"]["rollingUpdate"]
        return rolling

    assert strategy(maxSurge=5) == {"maxSurge": 5, "maxUnavailable": 0}
    assert strategy(maxSurge="10%") == {"maxSurge": "10%", "maxUnavailable": 0}
    assert strategy(maxSurge=5, cleanup=True) == {"maxUnavailable": 10}


def test_the_image_is_that_of_the_charts_version_unless_another_is_named() -> None:
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]
    for tag, expected in (({}, version), ({"tag": "7"}, "7")):
        spec = pod_spec(templated(flannel={"image": tag}))
        assert {one["image"] for one in containers(spec)} == {f"localhost/fwd:{expected}"}


def test_its_podmonitor_is_the_file_of_those_who_have_no_helm() -> None:
    values = {"metrics": True, "podMonitor": True}
    expected = yaml.safe_load((ROOT / "deploy/monitoring/podmonitor.yaml").read_text())
    found = only(templated(fwd=values), "PodMonitor")
    assert found == expected
    (endpoint,) = only(templated(fwd=values, flannel={"healthz": {"port": 9000}}), "PodMonitor")[
        "spec"
    ]["podMetricsEndpoints"]
    addresses = {one.get("replacement") for one in endpoint["relabelings"]}
    assert {"${1}:9000", "[${1}]:9000"} <= addresses
    assert not of_kind(templated(fwd={"metrics": True}), "PodMonitor"), "it needs the operator"


def test_flannels_names_mean_what_they_mean_there() -> None:
    found = objects(_templated(FLANNELS))
    for one in found:
        for version in VERSIONS:
            validate(one, version)
    data = only(found, "ConfigMap")["data"]
    backend = {"Type": "vxlan", "Port": 4789, "MTU": 1400, "VNI": 4096, "DirectRouting": True}
    assert json.loads(data["net-conf.json"]) == {
        "Network": "10.42.0.0/16",
        "EnableNFTables": True,
        "Backend": backend,
    }
    spec, container = pod_spec(found), agent(found)
    assert spec["imagePullSecrets"] == [{"name": "a-secret"}]
    assert spec["nodeSelector"] == {"kubernetes.io/os": "linux", "a": "b"}
    assert spec["tolerations"] == [{"key": "a", "operator": "Exists"}]
    assert {one["image"] for one in containers(spec)} == {"registry.example/fwd:1"}
    paths = {one["name"]: one.get("hostPath", {}).get("path") for one in spec["volumes"]}
    assert (paths["cni"], paths["cni-plugins"]) == ("/etc/other/net.d", "/usr/libexec/cni")
    assert "--iface=eth1" in container["args"]
    assert "--healthz-port=9000" in container["args"]
    assert container["livenessProbe"]["periodSeconds"] == 2
    assert container["readinessProbe"]["initialDelaySeconds"] == 3
    assert container["resources"]["requests"] == {"cpu": "50m", "memory": "80Mi"}


def test_there_is_no_name_of_flannels_that_is_not_tried_here() -> None:
    """And so none in our values that is neither flannel's nor below `fwd`."""
    theirs, ours = yaml.safe_load(FLANNELS), yaml.safe_load((CHART / "values.yaml").read_text())
    assert set(ours) - {"fwd"} == set(theirs)
    assert set(ours["flannel"]) - set(theirs["flannel"]) == {"cniConf"}


def test_parts_can_be_left_out() -> None:
    found = templated(flannel={"healthz": {"port": 0}, "skipCNIConfigInstallation": True})
    container = agent(found)
    assert container["args"] == ["--ip-masq", "--kube-subnet-mgr"]
    assert not {"livenessProbe", "readinessProbe"} & set(container)
    assert "initContainers" not in pod_spec(found)
    assert not {"cni", "cni-plugins"} & {one["name"] for one in pod_spec(found)["volumes"]}
    only_ipv6 = templated(podCidr="", podCidrv6="fd00::/56")
    conf = json.loads(only(only_ipv6, "ConfigMap")["data"]["net-conf.json"])
    assert conf["EnableIPv4"] is False
    assert "Network" not in conf


def test_a_server_on_every_address_is_asked_at_the_pods_own() -> None:
    container = agent(templated(fwd={"healthzIP": "0.0.0.0"}))
    assert "--healthz-ip=0.0.0.0" in container["args"]
    assert "host" not in container["livenessProbe"]["httpGet"]


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"flannel": {"backend": "host-gw"}}, 'fwd has no backend "host-gw"'),
        ({"netpol": {"enabled": True}}, "install kube-network-policies by itself"),
        ({"podCidr": ""}, "give at least one"),
        ({"fwd": {"podMonitor": True}}, "set fwd.metrics"),
        ({"fwd": {"metrics": True, "healthzIP": "0.0.0.0"}}, "give one of the two"),
        (
            {"fwd": {"metrics": True}, "flannel": {"healthz": {"port": 0}}},
            "flannel.healthz.port is 0",
        ),
    ],
)
def test_what_cannot_be_is_refused(values: dict[str, Any], says: str) -> None:
    with pytest.raises(AssertionError, match=re.escape(says)):
        templated(**values)


def test_a_changed_configuration_rolls_the_pods() -> None:
    sums = {
        only(found, "DaemonSet")["spec"]["template"]["metadata"]["annotations"]["checksum/config"]
        for found in (templated(), templated(podCidr="10.1.0.0/16"))
    }
    assert len(sums) == 2
    assert not of_kind(templated(), "Namespace")
