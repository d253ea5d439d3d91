# SPDX-License-Identifier: Apache-2.0
"""The patch types, and who may do what.  Only what no recording shows."""

from typing import Any

import msgspec
import pytest

from fwd.lab.apiserver import access, merge, patching
from fwd.lab.apiserver.access import FLANNEL, Access
from fwd.lab.apiserver.answers import Object, Refusal
from fwd.lab.apiserver.store import Store

STRATEGIC = "application/strategic-merge-patch+json"
MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
APPLY = "application/apply-patch+yaml"


def node() -> Object:
    return {
        "metadata": {"name": "n", "annotations": {"a": "1", "b": "2"}},
        "spec": {"podCIDR": "10.0.0.0/24", "taints": [{"key": "k", "effect": "NoSchedule"}]},
        "status": {
            "conditions": [
                {"type": "Ready", "status": "True", "reason": "R"},
                {"type": "NetworkUnavailable", "status": "True"},
            ],
            "images": [{"names": ["x"]}],
        },
    }


def patched(content_type: str, patch: object) -> Object:
    store = Store()
    store.put(node())
    data = msgspec.json.encode(patch)
    made = patching.patch_status(store, "n", content_type=content_type, patch=data)
    document: dict[str, Any] = msgspec.json.decode(made)
    return document


CONDITION = {"type": "NetworkUnavailable", "status": "False"}


@pytest.mark.parametrize("content_type", [STRATEGIC, APPLY])
def test_conditions_merge_by_type(content_type: str) -> None:
    after = patched(content_type, {"status": {"conditions": [{"type": "Ready", "reason": "S"}]}})
    assert after["status"]["conditions"] == [
        {"type": "Ready", "status": "True", "reason": "S"},
        {"type": "NetworkUnavailable", "status": "True"},
    ]


def test_a_merge_patch_replaces_conditions() -> None:
    after = patched(MERGE, {"status": {"conditions": [CONDITION]}})
    assert after["status"]["conditions"] == [CONDITION]


def test_other_lists_are_replaced() -> None:
    assert patched(STRATEGIC, {"status": {"images": []}})["status"]["images"] == []


@pytest.mark.parametrize(
    ("content_type", "patch"),
    [
        (STRATEGIC, {"metadata": {"annotations": {"a": None, "c": "3"}}}),
        (MERGE, {"metadata": {"annotations": {"a": None, "c": "3"}}}),
        (APPLY, {"metadata": {"annotations": {"a": None, "c": "3"}}}),
        (
            JSON_PATCH,
            [
                {"op": "test", "path": "/metadata/annotations/a", "value": "1"},
                {"op": "remove", "path": "/metadata/annotations/a"},
                {"op": "add", "path": "/metadata/annotations/c", "value": "3"},
            ],
        ),
    ],
)
def test_annotations_by_every_type(content_type: str, patch: object) -> None:
    assert patched(content_type, patch)["metadata"]["annotations"] == {"b": "2", "c": "3"}


def test_the_last_annotation_takes_the_map_along() -> None:
    after = patched(STRATEGIC, {"metadata": {"annotations": {"a": None, "b": None}}})
    assert "annotations" not in after["metadata"]


@pytest.mark.parametrize(
    ("patch", "kept"),
    [
        ([{"type": "Ready", "$patch": "delete"}], ["NetworkUnavailable"]),
        ([{"$patch": "replace"}, {"type": "X"}], ["X"]),
    ],
)
def test_directives(patch: list[Object], kept: list[str]) -> None:
    order = {"$setElementOrder/conditions": [{"type": "Ready"}]}
    after = patched(STRATEGIC, {"status": {"conditions": patch, **order}})
    assert [condition["type"] for condition in after["status"]["conditions"]] == kept
    assert "$setElementOrder/conditions" not in after["status"]


@pytest.mark.parametrize(
    ("content_type", "patch", "code"),
    [
        (STRATEGIC, [], 400),
        (MERGE, "x", 400),
        (STRATEGIC, {"metadata": {"annotations": {"a": 1}}}, 400),
        (STRATEGIC, {"metadata": {"name": "other"}}, 400),
        (STRATEGIC, {"status": {"conditions": [{"status": "True"}]}}, 400),
        (JSON_PATCH, {}, 400),
        (JSON_PATCH, [{"op": "remove", "path": "/metadata/annotations/z"}], 422),
        (JSON_PATCH, [{"op": "test", "path": "/metadata/name", "value": "z"}], 422),
        ("text/plain", {}, 415),
    ],
)
def test_a_patch_that_cannot_be(content_type: str, patch: object, code: int) -> None:
    with pytest.raises(Refusal) as refused:
        patched(content_type, patch)
    assert refused.value.code == code


def test_the_old_object_stays_as_it_is() -> None:
    old = node()
    merge.strategic(old, {"status": {"conditions": [CONDITION]}, "metadata": {"annotations": None}})
    assert old == node()


def test_a_kubelet_may_change_everything() -> None:
    store = Store()
    store.put(node())
    patching.change(store, "n", {"spec": {"podCIDR": "10.0.9.0/24"}})
    found = store.get("n")
    assert found is not None
    assert found.decode()["spec"]["podCIDR"] == "10.0.9.0/24"


@pytest.mark.parametrize(
    ("method", "path", "watch", "verb", "resource"),
    [
        ("GET", "/api/v1/nodes", False, "list", "nodes"),
        ("GET", "/api/v1/nodes", True, "watch", "nodes"),
        ("GET", "/api/v1/nodes/n", False, "get", "nodes"),
        ("PATCH", "/api/v1/nodes/n/status", False, "patch", "nodes/status"),
        ("DELETE", "/api/v1/nodes", False, "deletecollection", "nodes"),
        ("POST", "/api/v1/namespaces/x/pods", False, "create", "pods"),
        ("GET", "/apis/apps/v1/namespaces/x/daemonsets/y", False, "get", "daemonsets"),
        ("GET", "/version", False, "get", ""),
    ],
)
def test_requests_in_the_words_of_rbac(
    method: str, path: str, *, watch: bool, verb: str, resource: str
) -> None:
    wanted = access.wanted(method, path, watch=watch)
    assert (wanted.verb, wanted.resource) == (verb, resource)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/api/v1/namespaces/x/pods/y", True),
        ("GET", "/api/v1/namespaces/x/pods", False),
        ("PUT", "/api/v1/nodes/n/status", False),
        ("GET", "/apis/apps/v1/nodes", False),
        ("GET", "/version", True),
        ("GET", "/metrics", False),
    ],
)
def test_flannels_rights_and_no_more(method: str, path: str, *, allowed: bool) -> None:
    granted = Access({"t": FLANNEL})
    try:
        granted.authorize(granted.user("Bearer t"), access.wanted(method, path, watch=False))
    except Refusal as refused:
        assert not allowed
        assert refused.code == 403  # noqa: PT017 - in one test with its opposite
    else:
        assert allowed


def test_a_rotated_token_is_refused() -> None:
    granted = Access({"old": FLANNEL})
    granted.rotate("new")
    wanted: Any = access.wanted("GET", "/api/v1/nodes", watch=True)
    granted.authorize(granted.user("Bearer new"), wanted)
    with pytest.raises(Refusal, match="Unauthorized"):
        granted.user("Bearer old")
