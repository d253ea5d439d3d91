# SPDX-License-Identifier: Apache-2.0
"""That the base and each overlay are what an API server takes and what the agent understands."""

import json
import re
import tomllib
from pathlib import Path, PurePosixPath
from typing import Any, Final

import jsonschema
import pytest
import yaml
from kubernetes_validate import ValidationError

from fwd.config import run_config
from fwd.core import cniconf
from fwd.core.netconf import parse_netconf
from fwd.runflags import RUN_FLAGS
from tests.deploy.podsecurity import containers
from tests.deploy.rendering import (
    BASE,
    CLEANUP,
    KUSTOMIZE,
    OVERLAYS,
    ROOT,
    Object,
    agent,
    of_kind,
    only,
    pod_spec,
    pull_policy,
    rendered,
    with_components,
)
from tests.deploy.schema import VERSIONS, validate, validate_as_of_1_15

LEGACY: Final = "overlays/legacy-psp"
TODAY: Final = [name for name in (BASE, *OVERLAYS, CLEANUP) if name != LEGACY]
VARIABLES: Final = {flag.variable for flag in RUN_FLAGS}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", TODAY)
def test_the_api_knows_every_field(name: str, version: str) -> None:
    for found in rendered(name):
        validate(found, version)


def test_the_api_of_1_15_knows_every_field_of_the_overlay_for_it() -> None:
    for found in rendered(LEGACY):
        validate_as_of_1_15(found)


def test_a_field_that_is_not_known_is_an_error() -> None:
    daemonset = only(rendered(BASE), "DaemonSet")
    with pytest.raises(jsonschema.ValidationError, match=r"seccompProfile|maxSurge"):
        validate_as_of_1_15(daemonset)
    daemonset["spec"]["template"]["spec"]["hostnetwork"] = True
    for version in VERSIONS:
        with pytest.raises(ValidationError, match="hostnetwork"):
            validate(daemonset, version)


def configured(found: list[Object]) -> dict[str, str]:
    """Files of the ConfigMap that is mounted for the agent, by their path."""
    (mount,) = (one for one in agent(found)["volumeMounts"] if one["name"] == "config")
    (volume,) = (one for one in pod_spec(found)["volumes"] if one["name"] == "config")
    name = volume["configMap"]["name"]
    maps = {one["metadata"]["name"]: one["data"] for one in of_kind(found, "ConfigMap")}
    if name not in maps:  # mixed: flannel's own
        assert name == "kube-flannel-cfg"
        return configured(rendered(BASE))
    return {str(PurePosixPath(mount["mountPath"], key)): text for key, text in maps[name].items()}


def environment(found: list[Object]) -> dict[str, str]:
    container = agent(found)
    given = {one["name"]: one.get("value", "some") for one in container["env"]}
    maps = {one["metadata"]["name"]: one["data"] for one in of_kind(found, "ConfigMap")}
    for source in container.get("envFrom", ()):
        given |= maps[source["configMapRef"]["name"]]
    return given


@pytest.mark.parametrize("name", [BASE, *OVERLAYS])
def test_the_agent_understands_its_command_line_and_files(name: str) -> None:
    found = rendered(name)
    given = environment(found)
    assert set(given) <= VARIABLES
    config = run_config(agent(found)["args"], given)
    assert not config.notes
    assert config.kube_subnet_mgr == (name != "overlays/etcd")
    files = configured(found)
    parse_netconf(files[str(config.net_config_path)])
    cniconf.check(files[str(config.cni_conf)])


@pytest.mark.parametrize("name", [BASE, *OVERLAYS])
def test_what_the_agent_writes_is_on_the_node(name: str) -> None:
    found = rendered(name)
    config = run_config(agent(found)["args"], environment(found))
    mounts = {one["mountPath"]: one for one in agent(found)["volumeMounts"]}
    for path in (config.subnet_file.parent, config.run_dir, config.cni_conf_dir):
        assert not mounts[str(path)].get("readOnly")


@pytest.mark.parametrize("name", [BASE, *OVERLAYS])
def test_probes_ask_where_the_agent_listens(name: str) -> None:
    container = agent(rendered(name))
    config = run_config(container["args"], {"NODE_NAME": "x"})
    for probe, path in (("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")):
        get = container[probe]["httpGet"]
        assert (get["host"], get["port"]) == (config.healthz_ip, config.healthz_port)
        assert get["path"] == path


@pytest.mark.parametrize("name", [BASE, *OVERLAYS, CLEANUP])
def test_an_image_that_was_imported_is_not_asked_for_elsewhere(name: str) -> None:
    for workload in of_kind(rendered(name), "DaemonSet"):
        spec = workload["spec"]["template"]["spec"]
        for container in (*spec.get("initContainers", ()), *spec["containers"]):
            assert pull_policy(container) == "IfNotPresent"


@pytest.mark.parametrize("name", [BASE, *OVERLAYS])
def test_one_selector_finds_the_pods(name: str) -> None:
    spec = only(rendered(name), "DaemonSet")["spec"]
    assert spec["selector"]["matchLabels"].items() <= spec["template"]["metadata"]["labels"].items()


def test_an_overlay_says_in_net_conf_what_it_is_called_for() -> None:
    plain = json.loads(configured(rendered(BASE))["/etc/kube-flannel/net-conf.json"])

    def changed(name: str) -> dict[str, Any]:
        text = configured(rendered(name))["/etc/kube-flannel/net-conf.json"]
        return {key: value for key, value in json.loads(text).items() if plain.get(key) != value}

    assert changed("overlays/nftables") == {"EnableNFTables": True}
    assert changed("overlays/dual-stack") == {
        "EnableIPv6": True,
        "IPv6Network": "fd00:10:244::/56",
    }


def test_the_content_of_the_configuration_is_in_its_name() -> None:
    """So a change of it rolls the DaemonSet."""
    names = {only(rendered(name), "ConfigMap")["metadata"]["name"] for name in TODAY[:1]}
    names |= {
        only(rendered(name), "ConfigMap")["metadata"]["name"]
        for name in ("overlays/nftables", "overlays/dual-stack")
    }
    assert len(names) == 3


def test_the_patches_that_the_documentation_shows_do_what_it_says(tmp_path: Path) -> None:
    text = (ROOT / "docs/install.md").read_text()
    shown = re.findall(r"^    patches:\n(?:    .+\n)+", text, re.MULTILINE)
    patches = [yaml.safe_load(one)["patches"] for one in shown]
    logged, faster = (
        with_components(tmp_path / str(number), patches=one) for number, one in enumerate(patches)
    )
    assert run_config(agent(logged)["args"], {"NODE_NAME": "n1"}).confine == "log"
    rolling = only(faster, "DaemonSet")["spec"]["updateStrategy"]["rollingUpdate"]
    assert rolling == {"maxSurge": "10%", "maxUnavailable": 0}


def test_version_and_image_are_those_of_this_tree() -> None:
    """So that a later version's base is another Pod, and `kubectl apply` rolls to it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for workload in of_kind(rendered(BASE), "DaemonSet"):
        for container in containers(workload["spec"]["template"]["spec"]):
            assert container["image"] == f"localhost/fwd:{project['version']}"
    text = (ROOT / "docs/install.md").read_text()
    assert set(re.findall(r"(?:fwd:|newTag: )(\d+\.\d+\.\d+)", text)) == {project["version"]}


def test_the_documentation_names_each_overlay_and_component() -> None:
    text = (ROOT / "docs/install.md").read_text()
    named = set(re.findall(r"^\| `([a-z-]+)` \| ", text, re.MULTILINE))
    parts = {
        path.name for kind in ("overlays", "components") for path in (KUSTOMIZE / kind).iterdir()
    }
    assert named == parts
