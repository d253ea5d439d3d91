# SPDX-License-Identifier: Apache-2.0
"""That a lab's kernel nodes have the rules that fwd's have: neither is measured without."""

import subprocess
from collections.abc import Iterator

import pytest

from fwd.lab import netns
from fwd.lab.familyplan import FAMILY_PLANS
from fwd.lab.topology import Wiring
from tests.netns.lab_support import Lab, own_lab, require

pytestmark = [pytest.mark.netns, pytest.mark.root]

ONE_OF_EACH = ("--nodes", "1", "--kernel-nodes", "1", "--family", "dual")


@pytest.fixture(scope="module", params=Wiring)
def wiring(request: pytest.FixtureRequest) -> Wiring:
    return Wiring(request.param)


@pytest.fixture(scope="module")
def lab(wiring: Wiring) -> Iterator[Lab]:
    require(fwd=True)
    for lab in own_lab("lu"):
        up = lab.run("up", *ONE_OF_EACH, "--wiring", wiring.value)
        assert up.returncode == 0, up.stderr
        yield lab


def rules(lab: Lab, node: int, family: int) -> list[str]:
    """Of flannel's table as nft lists it, its chains by name; the node's subnet is S."""
    table = ["ip" if family == 4 else "ip6", f"flannel-ipv{family}"]
    listed = subprocess.run(
        netns.inside(f"{lab.prefix}-n{node}", "nft", "-n", "list", "table", *table),
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    ).stdout
    subnet = str(FAMILY_PLANS[family].subnet(node))
    lines = [line.strip() for line in listed.splitlines() if "comment" not in line]
    chains = "\n".join(lines).replace(subnet, "S").split("chain ")
    return sorted(chain.rstrip("}\n") for chain in chains)


@pytest.mark.parametrize("family", [4, 6])
def test_a_kernel_node_has_what_fwd_sets(lab: Lab, wiring: Wiring, family: int) -> None:
    fwd_node, kernel_node = (rules(lab, node, family) for node in (1, 2))
    assert kernel_node == fwd_node
    assert any("hook forward" in chain and "saddr" in chain for chain in kernel_node)
    assert any("masquerade" in chain for chain in kernel_node) is (wiring is Wiring.CNI)
