# SPDX-License-Identifier: Apache-2.0
"""Nodes of the lab as Kubernetes has them, in flannel's text, and as kernel nodes read them."""

from typing import Any

import pytest

from fwd.lab import kernelnode, nodeobject
from fwd.lab.clusternodes import PREFIX
from fwd.lab.topology import Spec, node_specs, plan

LAB = plan(Spec(prefix="t", nodes=node_specs(fwd=1, kernel=1)))
DUAL = plan(Spec(prefix="t", nodes=node_specs(fwd=1, kernel=1), families=(4, 6)))


def registered(**changes: str | None) -> dict[str, Any]:
    """n2 with its annotations; underscores in names of changes are dashes, None leaves one out."""
    found = nodeobject.fresh(LAB, LAB.nodes[1])
    marks: dict[str, str | None] = {**nodeobject.published(LAB, LAB.nodes[1])}
    marks |= {f"{PREFIX}/{name.replace('_', '-')}": value for name, value in changes.items()}
    found["metadata"]["annotations"] = {key: one for key, one in marks.items() if one is not None}
    return found


def test_a_fresh_node_has_a_subnet_and_no_annotations_of_flannel() -> None:
    found = nodeobject.fresh(DUAL, DUAL.nodes[1])
    assert nodeobject.name_of(found) == "n2"
    assert found["spec"]["podCIDRs"] == ["10.244.2.0/24", "fd00:10:244:2::/64"]
    assert not [key for key in found["metadata"]["annotations"] if key.startswith(PREFIX)]
    assert nodeobject.peers_of(found, families=(4, 6)) is None


def test_a_kernel_nodes_annotations_are_flannels_text() -> None:
    assert nodeobject.published(DUAL, DUAL.nodes[1]) == {
        f"{PREFIX}/backend-data": '{"VNI":1,"VtepMAC":"02:00:00:00:00:02"}',
        f"{PREFIX}/backend-type": "vxlan",
        f"{PREFIX}/backend-v6-data": '{"VNI":1,"VtepMAC":"02:00:00:00:00:02"}',
        f"{PREFIX}/kube-subnet-manager": "true",
        f"{PREFIX}/public-ip": "192.168.50.2",
        f"{PREFIX}/public-ipv6": "fd00:50::2",
    }


def test_what_is_published_is_read_back_as_the_plans_peers() -> None:
    for lab, families in ((LAB, (4,)), (DUAL, (4, 6))):
        found = nodeobject.fresh(lab, lab.nodes[1])
        found["metadata"]["annotations"] |= nodeobject.published(lab, lab.nodes[1])
        peers = nodeobject.peers_of(found, families=families)
        assert list(peers or ()) == kernelnode.of_topology(lab, [lab.nodes[1]])


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"backend_type": "host-gw"}, "not vxlan"),
        ({"backend_data": None}, "truncated"),
        ({"backend_data": "null"}, "Expected"),
        ({"public_ip": "nowhere"}, "does not appear"),
        ({"public_ip": None}, "does not appear"),
    ],
)
def test_a_node_that_says_too_little_is_passed_over_whole(
    changes: dict[str, str | None], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        nodeobject.peers_of(registered(**changes), families=(4,))


def test_a_node_without_a_subnet_of_a_family_is_passed_over() -> None:
    with pytest.raises(ValueError, match="missing IPv6 address"):
        nodeobject.peers_of(registered(), families=(4, 6))
