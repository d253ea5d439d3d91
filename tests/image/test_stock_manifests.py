# SPDX-License-Identifier: Apache-2.0
"""flannel's own manifests, with the changes that docs/flannel-manifests.md shows and no other."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from fwd.lab import probes
from fwd.lab.probes import Direction, Route
from tests.deploy.rendering import Object, objects
from tests.image.cluster import ImageLab, built, wait_reached
from tests.image.kubelet import start
from tests.netns.lab_support import ROOT

STOCK: Final = Path(__file__).with_name("stock")
DIFFS: Final = re.findall(
    r"^```diff\n(.*?)^```",
    (ROOT / "docs/flannel-manifests.md").read_text(),
    re.MULTILINE | re.DOTALL,
)
VERSIONS: Final = ("0.11", "0.28")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ImageLab]:
    with built(tmp_path_factory.mktemp("stock")) as made:
        yield made


def changed(version: str, directory: Path) -> list[Object]:
    """flannel's manifest after the diff."""
    name = f"flannel-{version}.yaml"
    (diff,) = (diff for diff in DIFFS if f"+++ b/{name}" in diff)
    path = directory / name
    path.write_text((STOCK / name).read_text())
    subprocess.run(["git", "apply"], cwd=directory, input=diff, text=True, timeout=10, check=True)
    return objects(path.read_text())


def test_both_carry_tcp_to_each_other(lab: ImageLab, tmp_path: Path) -> None:
    pods = []
    for version, machine in zip(VERSIONS, lab.machines, strict=True):
        pods.append(start(machine, changed(version, tmp_path), device=False))
        conflist = machine.root / "etc/cni/net.d/10-flannel.conflist"
        (config,) = (machine.root / "configmap").iterdir()
        assert conflist.read_text() == (config / "cni-conf.json").read_text(), "as it is"
    family = lab.plan.plans[0]
    one, other, _ = lab.plan.nodes
    route = Route(
        source=one.pods[0].namespace,
        target=other.pods[0].namespace,
        address=str(family.pod(other.index, 1).ip),
        family=4,
        mtu=lab.plan.pod_mtu,
    )
    wait_reached(route, pods)
    for direction in Direction:
        stream = probes.tcp(route, seconds=1, direction=direction)
        assert stream.error is None, stream
    pods[1].wait_ready()
    assert pods[1].probe("livenessProbe") == 200
