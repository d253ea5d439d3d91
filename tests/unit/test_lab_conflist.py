# SPDX-License-Identifier: Apache-2.0
"""The lists by which a lab's Pods are connected; tests/netns/test_cni.py runs them."""

import json
from pathlib import Path

import pytest

from fwd.core import cniconf
from fwd.lab import cni, conflist
from fwd.lab.errors import LabError
from fwd.lab.topology import Spec, node_specs, plan


@pytest.mark.parametrize("families", [(4,), (6,), (4, 6)])
def test_a_kernel_nodes_list_is_what_fwd_makes_of_the_same_file(families: tuple[int, ...]) -> None:
    lab = plan(Spec(prefix="t", nodes=node_specs(fwd=0, kernel=2), families=families))
    text = json.dumps(conflist.cni_conf())
    rendered = cniconf.render(
        cniconf.parse(text),
        networks={plan.family: plan.cluster for plan in lab.plans},
        subnets={plan.family: plan.subnet(2) for plan in lab.plans},
        mtu=1450,
        ip_masq=True,
    )
    assert conflist.resolved(lab, lab.nodes[1]) == json.loads(rendered)


def test_without_plugins_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cni, "DIRECTORIES", (tmp_path,))
    with pytest.raises(LabError, match="apt-get install containernetworking-plugins"):
        cni.Runtime("none", conflist=tmp_path / "list", var_lib=tmp_path)
