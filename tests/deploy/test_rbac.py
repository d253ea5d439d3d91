# SPDX-License-Identifier: Apache-2.0
"""The ClusterRole allows what the agent asks for, as it is started by the manifest, and no more."""

from itertools import product

import pytest

from fwd.config import run_config
from fwd.ops.doctor.checks import kube
from fwd.ops.doctor.finding import Grade
from fwd.ops.doctor.patient import Options, Patient
from tests.deploy.rendering import BASE, OVERLAYS, Object, agent, of_kind, only, pod_spec, rendered
from tests.unit.kube_member import member
from tests.unit.kube_server import serving
from tests.unit.kube_support import node_object

NODE = "n1"
WITH_ROLES = [name for name in (BASE, *OVERLAYS) if of_kind(rendered(name), "ClusterRole")]


def allowed(role: Object, group: str = "") -> set[tuple[str, str]]:
    rules = [rule for rule in role["rules"] if rule["apiGroups"] == [group]]
    return {pair for rule in rules for pair in product(rule["verbs"], rule["resources"])}


def told(container: Object) -> dict[str, str]:
    """A container's environment on the node, of which kubelet fills in the name."""
    fields = {"spec.nodeName": NODE}
    return {
        one["name"]: fields[one["valueFrom"]["fieldRef"]["fieldPath"]] for one in container["env"]
    }


async def test_the_role_is_what_the_agent_and_its_doctor_ask_for() -> None:
    """Through all that they ever do, with the role's rights alone and what the Pod is told."""
    found = rendered(BASE)
    role = allowed(only(found, "ClusterRole"))
    async with serving(node_object(1, annotations={}), node_object(2)) as server:
        for rights in server.access.rules.values():
            rights.clear()
            rights.update(role)
        async with member(server, node_name=NODE) as ours:
            ours.announce()
            await ours.until("annotated", lambda: server.count("patch") >= 2)
            server.delete_node("n2")
            await ours.until("told", lambda: "n2" not in ours.leases)
        assert server.verbs() == role - {("get", "nodes")}
        config = run_config(
            [*agent(found)["args"], f"--kube-api-url={server.url}"],
            told(agent(found)),
        )
        assert config.pod is None, "so nobody asks for one"
        async for finding in kube.look(Patient(config, Options())):
            assert finding.grade is not Grade.WRONG, finding
        assert server.verbs() == role


@pytest.mark.parametrize("name", WITH_ROLES)
def test_overlays_give_the_same_rights_to_the_account_of_the_pod(name: str) -> None:
    found = rendered(name)
    assert allowed(only(found, "ClusterRole")) == allowed(only(rendered(BASE), "ClusterRole"))
    (subject,) = only(found, "ClusterRoleBinding")["subjects"]
    daemonset, account = only(found, "DaemonSet"), only(found, "ServiceAccount")
    assert subject["name"] == account["metadata"]["name"] == pod_spec(found)["serviceAccountName"]
    namespaces = {one["metadata"]["namespace"] for one in (daemonset, account)}
    assert namespaces == {subject["namespace"]}


def test_who_asks_etcd_has_no_way_to_the_api() -> None:
    found = rendered("overlays/etcd")
    assert not of_kind(found, "ClusterRole")
    assert pod_spec(found)["automountServiceAccountToken"] is False
    assert "--kube-subnet-mgr" not in agent(found)["args"]
