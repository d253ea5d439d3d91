# SPDX-License-Identifier: Apache-2.0
"""A lab of two nodes for the image and one with the kernel's device, and their machines.

n1 and n2 have no agent: kubelet's part starts one in a container.
"""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import pytest
from msgspec import Struct
from msgspec.structs import replace

from fwd.lab import building, kubeplane, lab, netns, probes, state, steps, topology
from fwd.lab.apiserver.credentials import write_service_account
from fwd.lab.probes import Route
from fwd.lab.state import Phase, State, StateDir
from fwd.lab.topology import NodeKind, Source, Spec, Topology
from tests.image.kubelet import Machine, Pod
from tests.netns.lab_support import ROOT, require, wait_for
from tests.netns.names import own
from tests.netns.podman_support import Podman, no_cgroups_left, require_podman

ARCHIVE: Final = ROOT / "build/image/fwd.tar"
PREFIX: Final = own("im")


class ImageLab(Struct, frozen=True):
    """It is up, but for the agents of n1 and n2."""

    plan: Topology
    state_dir: StateDir
    machines: tuple[Machine, Machine]


@contextlib.contextmanager
def built(directory: Path, *, families: tuple[int, ...] = (4,)) -> Iterator[ImageLab]:
    """Removed in any case, and what an earlier run left behind goes first."""
    require(fwd=True)
    require_podman()
    if not ARCHIVE.exists():
        pytest.fail(f"there is no {ARCHIVE}: run make image")
    nodes = topology.node_specs(fwd=2, kernel=1)
    plan = topology.plan(Spec(prefix=PREFIX, nodes=nodes, families=families, source=Source.KUBE))
    state_dir = state.default(PREFIX)
    with state_dir.locked(), contextlib.ExitStack() as stack:
        lab.remove(PREFIX, state_dir)
        stack.callback(lab.remove, PREFIX, state_dir)
        _build(plan, state_dir)
        stack.enter_context(no_cgroups_left())
        machines = [
            _machine(plan, node, state_dir, directory=directory / node.name, stack=stack)
            for node in plan.nodes
            if node.kind is NodeKind.FWD
        ]
        yield ImageLab(plan, state_dir, (machines[0], machines[1]))


def wait_reached(route: Route, pods: Sequence[Pod]) -> None:
    """Until an echo request is answered; else its agents say what they have done and know."""
    wait_for(
        lambda: probes.ping(route).received,
        told=lambda: "\n".join(pod.told() for pod in pods),
    )


def _build(plan: Topology, state_dir: StateDir) -> None:
    there = State(plan.spec, Phase.BUILDING)
    state_dir.save(there)
    netns.create(plan.namespaces)
    building.switch(plan)
    there = building.control_plane(plan, state=there, state_dir=state_dir)
    # By which an agent finds the underlay that is not told it.
    defaults = [steps.ip(f"route add default via {one.control.ip}") for one in plan.plans]
    for node in plan.nodes:
        building.wire(plan, node, state_dir=state_dir)
        netns.apply(node.namespace, defaults)
    # By a plan of its own: in the whole one it would wait for agents that nobody has started.
    kernel = tuple(node for node in plan.spec.nodes if node.kind is NodeKind.KERNEL)
    alone = topology.plan(replace(plan.spec, nodes=kernel))
    building.data_planes(alone, alone.nodes, state=there, state_dir=state_dir)


def _machine(
    plan: Topology,
    node: topology.Node,
    state_dir: StateDir,
    *,
    directory: Path,
    stack: contextlib.ExitStack,
) -> Machine:
    account, root = directory / "account", directory / "root"
    root.mkdir(parents=True)
    write_service_account(account, token=state_dir.token.read_text(), ca=state_dir.authority)
    podman = Podman(node.namespace, conf_dir=directory / "net.d", archive=ARCHIVE)
    stack.callback(podman.close)
    return Machine(
        name=node.name,
        namespace=node.namespace,
        podman=podman,
        root=root,
        account=account,
        api=(plan.control_address, kubeplane.PORT),
        control=state_dir.api_socket,
    )
