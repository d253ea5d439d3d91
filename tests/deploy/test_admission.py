# SPDX-License-Identifier: Apache-2.0
"""What the manifests ask for: the level their namespace states, and what goes beyond the lowest."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from tests.deploy import podsecurity
from tests.deploy.podsecurity import BASELINE, RESTRICTED, broken, containers, level
from tests.deploy.rendering import (
    BASE,
    CLEANUP,
    OVERLAYS,
    agent,
    of_kind,
    only,
    pod_spec,
    rendered,
    with_components,
)

STATED = "pod-security.kubernetes.io/enforce"
UNAVOIDABLE = {"host namespaces", "hostPath", "capabilities"}
"""The node's network is what it serves; subnet.env and the conflist lie on the node."""
KINDS = ("initContainers", "containers")
FOLLOWS = {"volume types", "no capabilities added", "not as root"}
"""The first two from these; root, as CAP_NET_ADMIN reaches no other user of a container."""


@pytest.mark.parametrize("name", [BASE, *OVERLAYS])
def test_a_namespace_states_the_level_that_its_pod_needs(name: str) -> None:
    found = rendered(name)
    for namespace in of_kind(found, "Namespace"):
        assert namespace["metadata"]["labels"][STATED] == level(pod_spec(found))


@pytest.mark.parametrize("name", [BASE, *OVERLAYS])
def test_nothing_goes_beyond_what_cannot_be_avoided(name: str) -> None:
    spec = pod_spec(rendered(name))
    assert broken(spec, BASELINE) == UNAVOIDABLE
    if name == "overlays/legacy-psp":  # the annotation's meaning; the field is of 1.19
        spec["securityContext"] = {"seccompProfile": {"type": "RuntimeDefault"}}
    assert broken(spec, RESTRICTED) == FOLLOWS


@pytest.mark.parametrize("name", [BASE, *OVERLAYS])
def test_no_container_is_privileged_and_net_admin_is_the_agents_alone(name: str) -> None:
    spec = pod_spec(rendered(name))
    more = {"NET_RAW"} if name == "overlays/legacy-psp" else set()
    for container in containers(spec):
        context = container["securityContext"]
        assert context["privileged"] is False
        assert context["readOnlyRootFilesystem"] is True
        wanted = {"NET_ADMIN"} | more if container["name"] == "fwd" else set()
        assert podsecurity.added(context) == wanted


def test_what_cleans_up_may_do_no_more_than_an_agent_and_reads_legacy_rules(
    tmp_path: Path,
) -> None:
    """For these NET_RAW, without which they would be left; nobody knows before what a node has."""
    (cleanup,), (waiting,) = (pod_spec(rendered(CLEANUP))[key] for key in KINDS)
    ours = agent(with_components(tmp_path, "net-raw"))
    assert cleanup["securityContext"] == ours["securityContext"]
    assert all(mount in ours["volumeMounts"] for mount in cleanup["volumeMounts"])
    assert podsecurity.added(waiting["securityContext"]) == set()
    assert "volumeMounts" not in waiting


def test_the_components_for_rights_change_them_and_nothing_else(tmp_path: Path) -> None:
    for name, context in (
        ("privileged", {"privileged": True, "readOnlyRootFilesystem": True}),
        (
            "net-raw",
            agent(rendered(BASE))["securityContext"]
            | {"capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN", "NET_RAW"]}},
        ),
    ):
        expected = rendered(BASE)
        pod_spec(expected)["containers"][0]["securityContext"] = context
        assert with_components(tmp_path / name, name) == expected


def test_the_pod_security_policy_lets_this_pod_in_and_no_more() -> None:
    found = rendered("overlays/legacy-psp")
    policy, spec = only(found, "PodSecurityPolicy")["spec"], pod_spec(found)
    assert policy["hostNetwork"] is spec["hostNetwork"] is True
    for name in ("privileged", "allowPrivilegeEscalation", "hostPID", "hostIPC"):
        assert policy[name] is False
    kinds = {kind for volume in spec["volumes"] for kind in volume if kind != "name"}
    assert kinds | {"secret"} == set(policy["volumes"]), "the account's token is a secret"
    paths = {one["hostPath"]["path"] for one in spec["volumes"] if "hostPath" in one}
    assert paths == {one["pathPrefix"] for one in policy["allowedHostPaths"]}
    added = set().union(*(podsecurity.added(one) for one in podsecurity.contexts(spec)))
    assert added == set(policy["allowedCapabilities"])
    (rule,) = (rule for rule in only(found, "ClusterRole")["rules"] if "use" in rule["verbs"])
    assert rule["resourceNames"] == [only(found, "PodSecurityPolicy")["metadata"]["name"]]


@pytest.mark.parametrize(
    ("path", "value", "control"),
    [
        (["containers", 0, "securityContext", "privileged"], True, "privileged"),
        (["hostPID"], True, "host namespaces"),
        (["containers", 0, "ports"], [{"containerPort": 1, "hostPort": 1}], "host ports"),
        (["containers", 0, "livenessProbe", "httpGet", "host"], "10.0.0.1", "host probes"),
        (["securityContext", "seccompProfile", "type"], "Unconfined", "seccomp"),
        (["securityContext", "sysctls"], [{"name": "net.ipv4.ip_forward"}], "sysctls"),
        (["initContainers", 0, "securityContext", "procMount"], "Unmasked", "/proc mount"),
    ],
)
def test_the_checks_see_what_is_wrong(path: list[Any], value: object, control: str) -> None:
    spec = deepcopy(pod_spec(rendered(BASE)))
    place: Any = spec
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    assert broken(spec, BASELINE) - UNAVOIDABLE == {control} - UNAVOIDABLE
    assert control in broken(spec, BASELINE)


def test_a_plain_pod_keeps_to_the_strictest() -> None:
    plain = {
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [
            {
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "capabilities": {"drop": ["ALL"]},
                }
            }
        ],
    }
    assert level(plain) == "restricted"
    assert level({"containers": [{}]}) == "baseline"
