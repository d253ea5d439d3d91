# SPDX-License-Identifier: Apache-2.0
"""deploy/monitoring against the manifests: who is asked, at which port, by which name and limit."""

import re
from typing import Any, Final

import yaml

from fwd.config import run_config
from tests.deploy.rendering import BASE, ROOT, Object, agent, only, rendered

MONITORING: Final = ROOT / "deploy/monitoring"
POD_MONITOR: Final = MONITORING / "podmonitor.yaml"
BESIDE: Final = 16e6
"""Bytes of the supervisor and the spare, which count for the limit (docs/install.md)."""


def pod_monitor() -> Object:
    found: Object = yaml.safe_load(POD_MONITOR.read_text())
    return found


def relabelled(endpoint: Object, labels: dict[str, str]) -> dict[str, str]:
    """As Prometheus does it, in so far as it is used here; nothing: the target is dropped."""
    labels = dict(labels)
    for rule in endpoint["relabelings"]:
        value = ";".join(labels.get(name, "") for name in rule.get("sourceLabels", ()))
        regex = re.compile(rule.get("regex", "(.*)"))
        match rule.get("action", "replace"):
            case "keep":
                if not regex.fullmatch(value):
                    return {}
            case "labeldrop":
                labels = {key: one for key, one in labels.items() if not regex.fullmatch(key)}
            case "replace":
                if found := regex.fullmatch(value):
                    text = rule.get("replacement", "$1").replace("${1}", "$1")
                    labels[rule["targetLabel"]] = found.expand(text.replace("$1", r"\1"))
            case other:
                raise AssertionError(other)
    return labels


def target(container: str, address: str) -> dict[str, str]:
    """What Prometheus finds of a container without ports, and the operator's own labels."""
    return {
        "__address__": address,
        "__meta_kubernetes_pod_ip": address,
        "__meta_kubernetes_pod_container_name": container,
        "__meta_kubernetes_pod_node_name": "n1",
        "pod": "fwd-abc",
        "namespace": "fwd",
    }


def test_prometheus_asks_each_agent_where_it_listens_and_nobody_else() -> None:
    found, manifest = pod_monitor(), rendered(BASE)
    labels = only(manifest, "DaemonSet")["spec"]["template"]["metadata"]["labels"]
    assert found["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert found["metadata"]["namespace"] == only(manifest, "DaemonSet")["metadata"]["namespace"]
    (endpoint,) = found["spec"]["podMetricsEndpoints"]
    assert not {"port", "portNumber", "targetPort"} & set(endpoint), "by which none is declared"
    port = run_config(agent(manifest)["args"], {"NODE_NAME": "n1"}).healthz_port
    for address, url in (("192.0.2.7", "192.0.2.7"), ("fd02::7", "[fd02::7]")):
        asked = relabelled(endpoint, target("fwd", address))
        assert asked["__address__"] == f"{url}:{port}"
        assert asked["instance"] == "n1"
        assert "pod" not in asked, "two Pods of an update are one target"
    assert relabelled(endpoint, target("install-cni", "192.0.2.7")) == {}


def rules() -> dict[str, Any]:
    groups = yaml.safe_load((MONITORING / "alerts.yaml").read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def test_a_dead_agent_raises_an_alert_by_the_jobs_name() -> None:
    spec, labels = pod_monitor()["spec"], only(rendered(BASE), "DaemonSet")["metadata"]["labels"]
    job = labels[spec["jobLabel"]]
    for name in ("FwdDown", "FwdNotScraped"):
        (pattern,) = re.findall(r'\bup\{job=~"([^"]+)"\}', rules()[name]["expr"])
        assert re.fullmatch(pattern, job)
    assert rules()["FwdDown"]["expr"].endswith("== 0")
    assert rules()["FwdNotScraped"]["expr"].startswith("absent(")


def test_the_alert_for_memory_comes_before_the_limit() -> None:
    limit = agent(rendered(BASE))["resources"]["limits"]["memory"]
    pattern = r"process_resident_memory_bytes\{.*\} \+ (\w+) > ([\d.]+) \* (\d+) \* 2 \^ 20"
    found = re.fullmatch(pattern, rules()["FwdMemory"]["expr"])
    assert found is not None
    assert float(found[1]) == BESIDE
    assert 0.5 < float(found[2]) < 0.9
    assert f"{found[3]}Mi" == limit
