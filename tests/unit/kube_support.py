# SPDX-License-Identifier: Apache-2.0
"""Nodes as an API server writes them, and what it was recorded to say."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from fwd.core.annotations import Keys
from fwd.core.nodewire import Changed, Node, NodeDecoder
from tests.unit.in_family import said

PREFIX = "flannel.alpha.coreos.com/"
RECORDINGS = Path(__file__).resolve().parents[1] / "recordings"

decoder = NodeDecoder(Keys())


def mac(number: int) -> str:
    return (b"\x02\0" + number.to_bytes(4)).hex(":")


def cidrs(number: int, families: Sequence[int] = (4,)) -> list[str]:
    """podCIDRs of node nX."""
    of = {4: f"10.244.{number}.0/24", 6: f"fd00:244:0:{number:x}::/64"}
    return [of[family] for family in families]


def annotations(
    number: int, *, families: Sequence[int] = (4,), **changes: str | None
) -> dict[str, str]:
    """Those of node nX; underscores in names of changes are dashes, None leaves one out."""
    data = f'{{"VNI":1,"VtepMAC":"{mac(number)}"}}'
    values: dict[str, str | None] = {"backend-type": "vxlan", "kube-subnet-manager": "true"}
    if 4 in families:
        values |= {
            "backend-data": data,
            "public-ip": f"192.168.{number >> 8}.{number & 255}",
        }
    if 6 in families:
        values |= {"backend-v6-data": data, "public-ipv6": f"fd02::{number:x}"}
    values |= {name.replace("_", "-"): value for name, value in changes.items()}
    return {PREFIX + name: value for name, value in values.items() if value is not None}


def node_object(number: int, *, version: int = 1, **changes: Any) -> dict[str, Any]:  # noqa: ANN401
    """Node nX as JSON: subnet 10.244.X.0/24, underlay 192.168.0.X, unless told other families."""
    families = changes.setdefault("families", (4,))
    all_cidrs = [cidr] if (cidr := changes.pop("cidr", None)) else cidrs(number, families)
    if cidr == "":
        all_cidrs = []
    spec = {"podCIDR": all_cidrs[0], "podCIDRs": all_cidrs} if all_cidrs else {}
    spec = changes.pop("spec", spec)
    created = changes.pop("created", f"2026-11-23T23:00:{number % 60:02}Z")
    given = changes.pop("annotations", None)
    return {
        "kind": "Node",
        "apiVersion": "v1",
        "metadata": {
            "name": changes.pop("name", f"n{number}"),
            "uid": f"2410d30d-7006-4d88-b5e8-{number:012}",
            "resourceVersion": str(version),
            "creationTimestamp": created,
            "labels": {"kubernetes.io/os": "linux"},
            "annotations": annotations(number, **changes) if given is None else given,
        },
        "spec": spec,
        "status": {"conditions": [{"type": "Ready", "status": "True"}], "images": []},
    }


def node_in(families: Sequence[int], number: int, **changes: Any) -> dict[str, Any]:  # noqa: ANN401
    """Node nX in these families; what changes is said in IPv4, and changes in each of them."""
    first, *others = (said(family, node_object(number, **changes)) for family in families)
    for other in others:
        first["metadata"]["annotations"] |= other["metadata"]["annotations"]
        if first["spec"].get("podCIDRs"):
            first["spec"]["podCIDRs"] += other["spec"]["podCIDRs"]
    return first


def node(number: int, **changes: Any) -> Node:  # noqa: ANN401
    """Node nX as it is decoded."""
    return changed(number, **changes).node


def changed(number: int, **changes: Any) -> Changed:  # noqa: ANN401
    made = decoder.node(msgspec.json.encode(node_object(number, **changes)))
    assert isinstance(made, Changed)
    return made


def changed_in(family: int, number: int, **changes: Any) -> Changed:  # noqa: ANN401
    """Node nX of one family; what changes is said in IPv4."""
    made = decoder.node(msgspec.json.encode(node_in((family,), number, **changes)))
    assert isinstance(made, Changed)
    return made


def recording(name: str) -> dict[str, Any]:
    """One exchange with a real API server of version 1.36."""
    found: dict[str, Any] = json.loads((RECORDINGS / f"{name}.json").read_text())
    return found


def recorded_lines(name: str) -> list[bytes]:
    """The lines of a recorded watch, as Go's encoder wrote them."""
    lines = recording(name)["response"]["lines"]
    return [msgspec.json.encode(one["line"]) + b"\n" for one in lines if "line" in one]
