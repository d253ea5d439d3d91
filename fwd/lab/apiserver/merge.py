# SPDX-License-Identifier: Apache-2.0
"""The patch types of the Kubernetes API, for what a Node has.  Pure.

Strategic merge is JSON merge patch (RFC 7386) in which some lists are merged by a key.  A
server-side apply is merged in the same way: who owns a field (``managedFields``) is not tracked.
"""

import copy
from collections.abc import Callable
from typing import Any, Final

from fwd.lab.apiserver import answers
from fwd.lab.apiserver.answers import Object

# Path in a Node -> key (k8s.io/api core/v1 types.go, patchMergeKey); None: a set of plain values.
_MERGED_LISTS: Final[dict[str, str | None]] = {
    "metadata.finalizers": None,
    "metadata.ownerReferences": "uid",
    "spec.podCIDRs": None,
    "spec.taints": "key",
    "status.addresses": "type",
    "status.conditions": "type",
}


def apply(content_type: str, old: Object, patch: bytes) -> Object:
    """The object that a PATCH of this content type makes of ``old``, which stays as it is.

    Raises:
        Refusal: 400 no JSON or of a wrong shape, 415 an unknown type, 422 a path that is
            not there.
    """
    merge = _TYPES.get(content_type.partition(";")[0].strip().lower())
    if merge is None:
        raise answers.unsupported_media_type()
    try:
        decoded = answers.decode(patch)
    except ValueError as error:
        raise answers.bad_request(str(error)) from error
    return merge(old, decoded)


def strategic(old: Object, patch: Object, path: str = "") -> Object:
    """Strategic merge; ``$setElementOrder`` and ``$retainKeys`` are left out."""
    if patch.get("$patch") == "replace":
        return {key: value for key, value in patch.items() if key != "$patch"}
    merged = dict(old)
    for key, value in patch.items():
        if key.startswith("$"):
            continue
        where = f"{path}.{key}" if path else key
        had = merged.get(key)
        if value is None or (isinstance(value, dict) and value.get("$patch") == "delete"):
            merged.pop(key, None)
        elif isinstance(value, dict):
            merged[key] = strategic(had if isinstance(had, dict) else {}, value, where)
        elif isinstance(value, list) and where in _MERGED_LISTS:
            merged[key] = _merge_list(had or [], value, key=_MERGED_LISTS[where])
        else:
            merged[key] = value
    return merged


def _merge_list(old: list[Any], patch: list[Any], *, key: str | None) -> list[Any]:
    if key is None:
        return [*old, *(value for value in patch if value not in old)]
    if {"$patch": "replace"} in patch:
        return [value for value in patch if value != {"$patch": "replace"}]
    merged = list(old)
    for item in patch:
        if not isinstance(item, dict) or key not in item:
            raise answers.bad_request(f"map: {item} does not contain declared merge key: {key}")
        places = [place for place, had in enumerate(merged) if had[key] == item[key]]
        if item.get("$patch") == "delete":
            merged = [had for had in merged if had[key] != item[key]]
        elif places:
            merged[places[0]] = strategic(merged[places[0]], item)
        else:
            merged.append(strategic({}, item))
    return merged


def _merge(old: Object, patch: object) -> Object:
    """RFC 7386."""
    merged = dict(old)
    for key, value in _as_object(patch).items():
        had = merged.get(key)
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict):
            merged[key] = _merge(had if isinstance(had, dict) else {}, value)
        else:
            merged[key] = value
    return merged


def _json_patch(old: Object, patch: object) -> Object:
    """RFC 6902: add, remove, replace, test."""
    if not isinstance(patch, list):
        raise answers.bad_request("cannot unmarshal object into Go value of type jsonpatch.Patch")
    whole = copy.deepcopy(old)
    for step in patch:
        try:
            _operate(whole, step)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            text = "the server rejected our request due to an error in our request"
            raise answers.invalid(text) from error
    return whole


def _operate(whole: Object, step: Object) -> None:
    *parents, last = (
        part.replace("~1", "/").replace("~0", "~") for part in step["path"].split("/")[1:]
    )
    place: Any = whole
    for part in parents:
        place = place[int(part) if isinstance(place, list) else part]
    operation = step["op"]
    key: Any = last
    if isinstance(place, list):
        key = len(place) if last == "-" else int(last)
    if operation == "add" and isinstance(place, list):
        place.insert(key, step["value"])
    elif operation == "add":
        place[key] = step["value"]
    elif operation == "remove":
        del place[key]
    elif operation == "replace":
        place[key], _ = step["value"], place[key]  # a KeyError when it is not there
    elif operation != "test" or place[key] != step["value"]:
        raise ValueError(operation)


def _as_object(patch: object) -> Object:
    if not isinstance(patch, dict):
        kind = {list: "array", str: "string", bool: "bool"}.get(type(patch), "number")
        raise answers.bad_request(f"json: cannot unmarshal {kind} into Go value of type v1.Node")
    return patch


_TYPES: Final[dict[str, Callable[[Object, object], Object]]] = {
    "application/strategic-merge-patch+json": lambda old, new: strategic(old, _as_object(new)),
    "application/merge-patch+json": _merge,
    "application/json-patch+json": _json_patch,
    "application/apply-patch+yaml": lambda old, new: strategic(old, _as_object(new)),
}
