# SPDX-License-Identifier: Apache-2.0
"""Changes of a Node by PATCH: what ``nodes/status`` lets through, and what is no change.  Pure."""

from typing import Final

import msgspec

from fwd.lab.apiserver import answers, merge
from fwd.lab.apiserver.answers import Object
from fwd.lab.apiserver.store import Store, Version

_MAPS: Final = ("annotations", "labels")


def existing(nodes: Store, name: str) -> Version:
    """A Node; raises the 404."""
    found = nodes.get(name)
    if found is None:
        raise answers.not_found("nodes", name)
    return found


def change(nodes: Store, name: str, patch: Object) -> Version:
    """Strategic merge of everything, as those who may update a Node do."""
    old = existing(nodes, name)
    return _commit(nodes, old, merge.strategic(old.decode(), patch))


def patch_status(
    nodes: Store, name: str, *, content_type: str, patch: bytes, dry_run: bool = False
) -> bytes:
    """PATCH of ``nodes/<name>/status``: metadata and status; spec is ignored (recorded).

    Returns:
        The Node after it, the old one if nothing changed: then there is no event either; nor is
        there one of a dry run, of which nothing is kept.

    Raises:
        Refusal: 400, 404, 409, 415, 422.
    """
    old = existing(nodes, name)
    before = old.decode()
    after = merge.apply(content_type, before, patch)
    metadata = after.get("metadata", {})
    if metadata.get("name") != name:
        text = f"the name of the object ({metadata.get('name')}) does not match the name on the URL"
        raise answers.bad_request(f"{text} ({name})")
    if metadata.get("resourceVersion") != before["metadata"]["resourceVersion"]:
        raise answers.conflict("nodes", name)
    if "spec" in before:
        after["spec"] = before["spec"]
    else:
        after.pop("spec", None)
    if dry_run:
        return msgspec.json.encode(_checked(after))
    return _commit(nodes, old, after).raw


def _commit(nodes: Store, old: Version, after: Object) -> Version:
    before, after = old.decode(), _checked(after)
    return old if after == before else nodes.put(after)


def _checked(after: Object) -> Object:
    """As it would be kept; raises the 400."""
    metadata = {key: value for key, value in after["metadata"].items() if value or key not in _MAPS}
    for field in _MAPS:
        for value in metadata.get(field, {}).values():
            if not isinstance(value, str):
                kind = {bool: "bool", dict: "object", list: "array"}.get(type(value), "number")
                where = f"Go struct field ObjectMeta.metadata.{field} of type string"
                raise answers.bad_request(f"json: cannot unmarshal {kind} into {where}")
    return {**after, "metadata": metadata}
