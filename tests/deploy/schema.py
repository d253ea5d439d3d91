# SPDX-License-Identifier: Apache-2.0
"""The API's schemas, in which a field that is not known is an error."""

import functools
import json
from pathlib import Path
from typing import Any, Final

from jsonschema import Draft202012Validator
from kubernetes_validate import utils as kubernetes_validate
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from tests.deploy.rendering import ROOT, Object

OLD: Final = ROOT / "build/tools/schemas-1.15"
"""From get_tools.py."""
VERSIONS: Final = (kubernetes_validate.all_versions()[0], kubernetes_validate.latest_version())


def validate(found: Object, version: str) -> None:
    """Raises what tells the field at fault."""
    kubernetes_validate.validate(found, version, strict=True)


@functools.cache
def _old_file(name: str) -> Any:  # noqa: ANN401
    return json.loads(Path(OLD, name).read_text())


def _retrieved(uri: str) -> Resource[Any]:
    return Resource.from_contents(_old_file(uri), default_specification=DRAFT202012)


def validate_as_of_1_15(found: Object) -> None:
    group, _, version = found["apiVersion"].rpartition("/")
    name = "-".join(word for word in (found["kind"].lower(), group.split(".")[0], version) if word)
    registry: Registry[Any] = Registry(retrieve=_retrieved)  # type: ignore[call-arg]
    Draft202012Validator(_old_file(f"{name}.json"), registry=registry).validate(found)
